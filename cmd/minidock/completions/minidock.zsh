#compdef minidock
# Completion of minidock's command lines for zsh. As the file _minidock in a
# directory of $fpath it is found by itself; or, after compinit:
#
#     source <(minidock completion zsh)

_minidock() {
    local line name files
    local -a names texts open
    for line in "${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        name=${line%%$'\t'*}
        case $name in
        '') ;;
        :files) files=yes ;;
        *[=:]) open+=("$name") ;;
        *) names+=("$name") texts+=("${line/$'\t'/  -- }") ;;
        esac
    done
    (( ${#names} )) && compadd -l -d texts -a names
    # What ends so goes on: no blank after it.
    (( ${#open} )) && compadd -S '' -a open
    [[ -n $files ]] && _files
    return 0
}

if [[ $funcstack[1] == _minidock ]]; then _minidock "$@"; else compdef _minidock minidock; fi
