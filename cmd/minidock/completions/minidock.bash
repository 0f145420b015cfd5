# Completion of minidock's command lines for bash 4.3 or newer:
#
#     source <(minidock completion bash)

_minidock() {
    local rest=$COMP_LINE words=() word i
    # Bash takes words apart at the signs in COMP_WORDBREAKS: what no blank parts
    # belongs together.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i == 0 || $rest == [[:blank:]]* ]]; then words+=("$word"); else words[-1]+=$word; fi
        rest=${rest#"${rest%%[![:blank:]]*}"}
        rest=${rest#"$word"}
    done

    # And it replaces only what stands behind the last of them.
    local current=${words[-1]} done=''
    if [[ $current == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]]; then done=${current%"${current##*[=:]}"}; fi

    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        if [[ $word != :files ]]; then
            COMPREPLY+=("${word#"$done"}")
            continue
        fi
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "${current#"$done"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:] ]]; then compopt -o nospace 2>/dev/null; fi
}

complete -F _minidock minidock
