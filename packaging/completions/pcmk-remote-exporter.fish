complete -c pcmk-remote-exporter -l listen -d 'Serve on this address' -r
complete -c pcmk-remote-exporter -l socket -d 'The daemon\'s status socket' -r -F
complete -c pcmk-remote-exporter -l completions -d 'Print a completion script and exit' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c pcmk-remote-exporter -l once -d 'Print the metrics once and exit, for example for node_exporter\'s textfile collector'
complete -c pcmk-remote-exporter -s h -l help -d 'Print help'
complete -c pcmk-remote-exporter -s V -l version -d 'Print version'
