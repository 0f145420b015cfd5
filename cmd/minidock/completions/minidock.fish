# Completion of minidock's command lines for fish:
#
#     minidock completion fish | source

function __minidock_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    if test (count $current) -eq 0
        set current ''
    end
    for line in ($words[1] __complete $words[2..-1] $current 2>/dev/null)
        if test "$line" = ':files'
            __fish_complete_path $current
        else
            echo $line
        end
    end
end

complete -c minidock -f -a '(__minidock_complete)'
