# bash completion for pacemaker-remoted(8)

_pacemaker_remoted() {
    local cur prev words cword
    _init_completion -s || return
    case $prev in
    -l | --logfile)
        _filedir
        return
        ;;
    -p | --port) return ;;
    esac
    COMPREPLY=($(compgen -W '--help --version --verbose --logfile= --port= -? -$ -V -l -p' -- "$cur"))
    [[ ${COMPREPLY-} == *= ]] && compopt -o nospace
} && complete -F _pacemaker_remoted pacemaker-remoted
