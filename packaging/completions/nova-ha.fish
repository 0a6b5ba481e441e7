# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nova_ha_global_optspecs
    string join \n c/config= h/help V/version
end

function __fish_nova_ha_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nova_ha_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nova_ha_using_subcommand
    set -l cmd (__fish_nova_ha_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nova-ha -n "__fish_nova_ha_needs_command" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_needs_command" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -s V -l version -d 'Print version'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "power" -d 'Read and switch the power of a host'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "engine" -d 'Run the engine, as ocf:pcmk-remote:nova-evacuate does'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "plan" -d 'Say what would be done about the servers of a host, in which order and why; does nothing'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "evacuate" -d 'Ask the engine to evacuate a host that is proven off'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "capacity" -d 'Say whether the other hosts could take the servers of any one host, or of any K'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "lint" -d 'Find words about evacuation that are misspelt, not understood or contradicting, over the whole cloud'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "status" -d 'Say how the engine of this controller is, what waits for it, and which hosts are proven off'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "report" -d 'List incidents, or report one: timeline as text, JSON or page'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "explain" -d 'Say what was decided about a server or a host, and why'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "return" -d 'Let a host return to service'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "freeze" -d 'Begin nothing until thaw; fencing goes on'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "thaw" -d 'Begin things again'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "maintenance" -d 'Begin no evacuation of a host, or of any, or do so again; fencing goes on'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "go-ahead" -d 'Let a host be evacuated although too many are down at once'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "validate" -d 'Check configuration, credentials, roles, power devices and names'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c nova-ha -n "__fish_nova_ha_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "status" -d 'Read the power: exit code 0 on, 2 off, 1 it cannot be told'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "off" -d 'Switch off, unless it is off, and read off twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "on" -d 'Switch on, unless it is on, and read on twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "cycle" -d 'Off until that is read twice in a row, then on'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "list" -d 'List the hosts of the map with their devices, and say what is wrong with them'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and not __fish_seen_subcommand_from status off on cycle list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l host -d 'A host, by its name in Nova or in the cluster, instead of a device: off keeps the proof, on and cycle end it' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l map -d 'The map of hosts and devices; mode 0600; default: that of the configuration' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l driver -d 'How the device is spoken to' -r -f -a "ipmi\t'IPMI 2.0 over the network'
redfish\t'Redfish'
agent\t'An installed fence agent'"
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l address -d 'The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l user -d 'The user on the device' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l password-file -d 'The file with the password: its first line; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l cipher -d 'IPMI cipher suite: 17, 3, or auto for the better one that the device offers' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l privlvl -d 'IPMI privilege level: user, operator (default) or administrator' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l kg-file -d 'IPMI: the file with the device\'s own key (K_g): text, or hexadecimal after 0x; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l system -d 'Redfish: which system, if there are several: its id or its path' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l ca-file -d 'Redfish: the authority of the device\'s certificate, or the certificate itself, as PEM' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l agent -d 'The fence agent: its name, or its path' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l option -d 'A parameter of the fence agent; can be given again' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l timeout -d 'It never takes longer than this' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l session -d 'Redfish: log in to a session, instead of sending the password with each request'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l insecure -d 'Redfish: believe any certificate'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -l json -d 'Print one JSON object'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l host -d 'A host, by its name in Nova or in the cluster, instead of a device: off keeps the proof, on and cycle end it' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l map -d 'The map of hosts and devices; mode 0600; default: that of the configuration' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l driver -d 'How the device is spoken to' -r -f -a "ipmi\t'IPMI 2.0 over the network'
redfish\t'Redfish'
agent\t'An installed fence agent'"
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l address -d 'The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l user -d 'The user on the device' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l password-file -d 'The file with the password: its first line; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l cipher -d 'IPMI cipher suite: 17, 3, or auto for the better one that the device offers' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l privlvl -d 'IPMI privilege level: user, operator (default) or administrator' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l kg-file -d 'IPMI: the file with the device\'s own key (K_g): text, or hexadecimal after 0x; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l system -d 'Redfish: which system, if there are several: its id or its path' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l ca-file -d 'Redfish: the authority of the device\'s certificate, or the certificate itself, as PEM' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l agent -d 'The fence agent: its name, or its path' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l option -d 'A parameter of the fence agent; can be given again' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l timeout -d 'It never takes longer than this' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l session -d 'Redfish: log in to a session, instead of sending the password with each request'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l insecure -d 'Redfish: believe any certificate'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -l json -d 'Print one JSON object'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from off" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l host -d 'A host, by its name in Nova or in the cluster, instead of a device: off keeps the proof, on and cycle end it' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l map -d 'The map of hosts and devices; mode 0600; default: that of the configuration' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l driver -d 'How the device is spoken to' -r -f -a "ipmi\t'IPMI 2.0 over the network'
redfish\t'Redfish'
agent\t'An installed fence agent'"
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l address -d 'The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l user -d 'The user on the device' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l password-file -d 'The file with the password: its first line; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l cipher -d 'IPMI cipher suite: 17, 3, or auto for the better one that the device offers' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l privlvl -d 'IPMI privilege level: user, operator (default) or administrator' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l kg-file -d 'IPMI: the file with the device\'s own key (K_g): text, or hexadecimal after 0x; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l system -d 'Redfish: which system, if there are several: its id or its path' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l ca-file -d 'Redfish: the authority of the device\'s certificate, or the certificate itself, as PEM' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l agent -d 'The fence agent: its name, or its path' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l option -d 'A parameter of the fence agent; can be given again' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l timeout -d 'It never takes longer than this' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l session -d 'Redfish: log in to a session, instead of sending the password with each request'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l insecure -d 'Redfish: believe any certificate'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l json -d 'Print one JSON object'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -l force -d 'With --host: even while the host is being evacuated, because it is off'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from on" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l host -d 'A host, by its name in Nova or in the cluster, instead of a device: off keeps the proof, on and cycle end it' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l map -d 'The map of hosts and devices; mode 0600; default: that of the configuration' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l driver -d 'How the device is spoken to' -r -f -a "ipmi\t'IPMI 2.0 over the network'
redfish\t'Redfish'
agent\t'An installed fence agent'"
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l address -d 'The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l user -d 'The user on the device' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l password-file -d 'The file with the password: its first line; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l cipher -d 'IPMI cipher suite: 17, 3, or auto for the better one that the device offers' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l privlvl -d 'IPMI privilege level: user, operator (default) or administrator' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l kg-file -d 'IPMI: the file with the device\'s own key (K_g): text, or hexadecimal after 0x; mode 0600' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l system -d 'Redfish: which system, if there are several: its id or its path' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l ca-file -d 'Redfish: the authority of the device\'s certificate, or the certificate itself, as PEM' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l agent -d 'The fence agent: its name, or its path' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l option -d 'A parameter of the fence agent; can be given again' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l timeout -d 'It never takes longer than this' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l session -d 'Redfish: log in to a session, instead of sending the password with each request'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l insecure -d 'Redfish: believe any certificate'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l json -d 'Print one JSON object'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -l force -d 'With --host: even while the host is being evacuated, because it is off'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from cycle" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -l map -d 'The map of hosts and devices; mode 0600; default: that of the configuration' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -l timeout -d 'No device is asked longer than this' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -l check -d 'Ask each device for its power'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "status" -d 'Read the power: exit code 0 on, 2 off, 1 it cannot be told'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "off" -d 'Switch off, unless it is off, and read off twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "on" -d 'Switch on, unless it is on, and read on twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "cycle" -d 'Off until that is read twice in a row, then on'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the hosts of the map with their devices, and say what is wrong with them'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand power; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand engine" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand engine" -l from-environment -d 'Take the cloud\'s credentials from the environment (OS_AUTH_URL, OS_USERNAME, …), not from files'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand engine" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand plan" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand plan" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand plan" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand evacuate" -l operator-confirms-off -d 'Who has seen that the host is off, and vouches for it by name; for a host without another proof' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand evacuate" -l timeout -d 'Seconds to follow it at most; it goes on without us' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand evacuate" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand evacuate" -l wait -d 'Follow it to its end'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand evacuate" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand capacity" -l any -d 'How many hosts are lost at once' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand capacity" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand capacity" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand capacity" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand lint" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand lint" -l no-servers -d 'Flavors, images and aggregates alone; a large cloud has many servers'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand lint" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand lint" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand status" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand status" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand status" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand report" -l format -d 'How it is printed' -r -f -a "text\t'For terminals'
json\t'For programs'
html\t'A page with the picture of the incident, which needs nothing else'"
complete -c nova-ha -n "__fish_nova_ha_using_subcommand report" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand report" -l last -d 'The last incident'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand explain" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand explain" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand explain" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand return" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand return" -l power-on -d 'Switch it on first, by its device in the map'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand return" -l release -d 'Release it from quarantine'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand return" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand freeze" -l reason -d 'Why, for whoever looks at it later' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand freeze" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand freeze" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand thaw" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand thaw" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand maintenance" -l reason -d 'Why, for whoever looks at it later' -r
complete -c nova-ha -n "__fish_nova_ha_using_subcommand maintenance" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand maintenance" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand go-ahead" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand go-ahead" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand validate" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand validate" -l offline -d 'Look at files alone: no cloud, no power devices, no cluster'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand validate" -l json -d 'Print JSON'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand validate" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand completions" -s c -l config -d 'The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one' -r -F
complete -c nova-ha -n "__fish_nova_ha_using_subcommand completions" -s h -l help -d 'Print help'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "power" -d 'Read and switch the power of a host'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "engine" -d 'Run the engine, as ocf:pcmk-remote:nova-evacuate does'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "plan" -d 'Say what would be done about the servers of a host, in which order and why; does nothing'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "evacuate" -d 'Ask the engine to evacuate a host that is proven off'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "capacity" -d 'Say whether the other hosts could take the servers of any one host, or of any K'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "lint" -d 'Find words about evacuation that are misspelt, not understood or contradicting, over the whole cloud'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "status" -d 'Say how the engine of this controller is, what waits for it, and which hosts are proven off'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "report" -d 'List incidents, or report one: timeline as text, JSON or page'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "explain" -d 'Say what was decided about a server or a host, and why'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "return" -d 'Let a host return to service'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "freeze" -d 'Begin nothing until thaw; fencing goes on'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "thaw" -d 'Begin things again'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "maintenance" -d 'Begin no evacuation of a host, or of any, or do so again; fencing goes on'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "go-ahead" -d 'Let a host be evacuated although too many are down at once'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "validate" -d 'Check configuration, credentials, roles, power devices and names'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "completions" -d 'Print a completion script'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and not __fish_seen_subcommand_from power engine plan evacuate capacity lint status report explain return freeze thaw maintenance go-ahead validate completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and __fish_seen_subcommand_from power" -f -a "status" -d 'Read the power: exit code 0 on, 2 off, 1 it cannot be told'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and __fish_seen_subcommand_from power" -f -a "off" -d 'Switch off, unless it is off, and read off twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and __fish_seen_subcommand_from power" -f -a "on" -d 'Switch on, unless it is on, and read on twice in a row'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and __fish_seen_subcommand_from power" -f -a "cycle" -d 'Off until that is read twice in a row, then on'
complete -c nova-ha -n "__fish_nova_ha_using_subcommand help; and __fish_seen_subcommand_from power" -f -a "list" -d 'List the hosts of the map with their devices, and say what is wrong with them'
