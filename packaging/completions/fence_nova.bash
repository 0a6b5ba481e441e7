# bash completion for fence_nova(8)

_fence_nova() {
    local cur prev words cword split
    _init_completion -s || return
    case $prev in
    -o | --action)
        COMPREPLY=($(compgen -W 'on off reboot status list list-status monitor metadata manpage validate-all' -- "$cur"))
        return
        ;;
    -S | --password-script | --cacert | --credentials | --config | --map | -D | --debug-file)
        _filedir
        return
        ;;
    -e | --endpoint-type)
        COMPREPLY=($(compgen -W 'internalURL publicURL adminURL internal public admin' -- "$cur"))
        return
        ;;
    --power)
        COMPREPLY=($(compgen -W 'auto yes no' -- "$cur"))
        return
        ;;
    -k | --auth-url | -l | --username | -p | --password | -n | --plug | --region-name | -t | --tenant-name | -u | --user-domain | -P | --project-domain | --cloud | -d | --domain | -r | --record-only | --compute-domain | --verbose-level | --plug-separator | -C | --separator | --delay | --disable-timeout | --login-timeout | --power-timeout | --nova-timeout | --power-wait | --shell-timeout | --stonith-status-sleep | --retry-on) return ;;
    esac
    COMPREPLY=($(compgen -W '--action= --auth-url= --endpoint-type= --username= --password= --password-script= --plug= --region-name= --tenant-name= --user-domain= --project-domain= --insecure --cacert= --credentials= --cloud= --config= --map= --power= --domain= --instance-filtering --no-shared-storage --record-only= --compute-domain= --quiet --verbose --verbose-level= --debug-file= --version --help --plug-separator= --separator= --delay= --disable-timeout= --login-timeout= --power-timeout= --nova-timeout= --power-wait= --shell-timeout= --stonith-status-sleep= --retry-on= -o -k -e -l -p -S -n -t -u -P -d -r -q -v -D -V -h -C' -- "$cur"))
    [[ ${COMPREPLY-} == *= ]] && compopt -o nospace
} && complete -F _fence_nova fence_nova
