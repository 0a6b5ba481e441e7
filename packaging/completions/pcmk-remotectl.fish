# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pcmk_remotectl_global_optspecs
    string join \n socket= json h/help V/version
end

function __fish_pcmk_remotectl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pcmk_remotectl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pcmk_remotectl_using_subcommand
    set -l cmd (__fish_pcmk_remotectl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -s V -l version -d 'Print version'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "status" -d 'Show the daemon, its peers and resources, and what needs attention'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "ops" -d 'List operations that run, wait or recur'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "history" -d 'List the latest results, oldest first'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "drain" -d 'Leave the cluster in order, as `systemctl stop pacemaker_remote` does, and show the progress'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "tls-check" -d 'Find out why a node cannot be connected to, or that it can'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "validate-config" -d 'Check settings, keys, certificates, users and the port, before the daemon meets them'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "decode" -d 'Turn recorded messages into XML'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand status" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand status" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand status" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -s r -l resource -d 'Only this resource (or instance)' -r
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -l running -d 'Only what runs now'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -l bad -d 'Only what is not well: failed, timed out, overdue'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand ops" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -s r -l resource -d 'Only this resource (or instance)' -r
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -s n -l last -d 'Only the last N' -r
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -l bad -d 'Only failures, timeouts and what could not be run'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand history" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand drain" -l timeout -d 'Give up waiting after this many seconds; the drain itself goes on' -r
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand drain" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand drain" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand drain" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l key -d 'The cluster\'s key file; default: where the daemon looks for it' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l cert-file -d 'This node\'s certificate; default: PCMK_cert_file' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l ca-file -d 'The authorities\' certificates; default: PCMK_ca_file' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l key-file -d 'The certificate\'s private key; default: PCMK_key_file' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l timeout -d 'For each step' -r
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand tls-check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand validate-config" -l file -d 'Settings file; may be given more than once; default: those that the unit reads' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand validate-config" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand validate-config" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand validate-config" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand decode" -l format -d 'What is in it' -r -f -a "auto\t'Find out'
raw\t'The bytes as they are'
hex\t'Hexadecimal, with or without offsets and a text column'
pcap\t'A pcap file of unencrypted TCP'"
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand decode" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand decode" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand decode" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand completions" -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand completions" -l json -d 'Print JSON'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "status" -d 'Show the daemon, its peers and resources, and what needs attention'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "ops" -d 'List operations that run, wait or recur'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "history" -d 'List the latest results, oldest first'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "drain" -d 'Leave the cluster in order, as `systemctl stop pacemaker_remote` does, and show the progress'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "tls-check" -d 'Find out why a node cannot be connected to, or that it can'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "validate-config" -d 'Check settings, keys, certificates, users and the port, before the daemon meets them'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "decode" -d 'Turn recorded messages into XML'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "completions" -d 'Print a completion script'
complete -c pcmk-remotectl -n "__fish_pcmk_remotectl_using_subcommand help; and not __fish_seen_subcommand_from status ops history drain tls-check validate-config decode completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
