# fish completion for pacemaker-remoted(8)

complete -c pacemaker-remoted -f
complete -c pacemaker-remoted -s '?' -l help -d 'Show a summary and exit'
complete -c pacemaker-remoted -s '$' -l version -d 'Show the version and exit'
complete -c pacemaker-remoted -s V -l verbose -d 'Log more'
complete -c pacemaker-remoted -s l -l logfile -r -F -d 'Log to this file as well'
complete -c pacemaker-remoted -s p -l port -x -d 'Listen on this TCP port'
