# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_libvirt_probe_global_optspecs
    string join \n c/config= h/help V/version
end

function __fish_libvirt_probe_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_libvirt_probe_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_libvirt_probe_using_subcommand
    set -l cmd (__fish_libvirt_probe_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -s h -l help -d 'Print help'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -s V -l version -d 'Print version'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "check" -d 'Check once and say how it is, for people, monitoring and scripts'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "explain" -d 'Say what was asked, what came back, how long it took, and what to do next'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "watch" -d 'Check again and again, with history; one line per change if the output is not a terminal'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "domains" -d 'List the domains with their state, their monitor and their QEMU process'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "bench" -d 'Measure what the probe costs'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c libvirt-probe -n "__fish_libvirt_probe_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -s s -l socket -d 'libvirt\'s socket, instead of those that the configuration lists' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -s d -l deadline -d 'It never takes longer than this: milliseconds, or with a unit as in 5s' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -l json -d 'Print one JSON object'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -l nagios -d 'Print one line with performance data, for monitoring systems'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -l ocf -d 'Exit with the codes of OCF resource agents'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand explain" -s s -l socket -d 'libvirt\'s socket, instead of those that the configuration lists' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand explain" -s d -l deadline -d 'It never takes longer than this: milliseconds, or with a unit as in 5s' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand explain" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -s s -l socket -d 'libvirt\'s socket, instead of those that the configuration lists' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -s i -l interval -d 'Time between two checks: seconds, or with a unit as in 500ms' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -s n -l count -d 'End after so many checks of each subject' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -l json -d 'Print one JSON object per check'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -s s -l socket -d 'libvirt\'s socket, instead of those that the configuration lists' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -s d -l deadline -d 'It never takes longer than this: milliseconds, or with a unit as in 5s' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -l bad -d 'Only domains that are not well: paused by an error, crashed, with a monitor that does not answer'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -l json -d 'Print JSON'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand domains" -s h -l help -d 'Print help'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand bench" -s s -l socket -d 'libvirt\'s socket, instead of those that the configuration lists' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand bench" -s n -l rounds -d 'So often is each thing measured' -r
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand bench" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand bench" -l json -d 'Print JSON'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand bench" -s h -l help -d 'Print help'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand completions" -s c -l config -d 'Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one' -r -F
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand completions" -s h -l help -d 'Print help'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "check" -d 'Check once and say how it is, for people, monitoring and scripts'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "explain" -d 'Say what was asked, what came back, how long it took, and what to do next'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "watch" -d 'Check again and again, with history; one line per change if the output is not a terminal'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "domains" -d 'List the domains with their state, their monitor and their QEMU process'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "bench" -d 'Measure what the probe costs'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "completions" -d 'Print a completion script'
complete -c libvirt-probe -n "__fish_libvirt_probe_using_subcommand help; and not __fish_seen_subcommand_from check explain watch domains bench completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
