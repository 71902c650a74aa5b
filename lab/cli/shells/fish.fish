function fish_prompt
    set -l sign '>'
    test (id -u) = 0; and set sign '#'
    echo -n -s "[$LAB_NAME $LAB_NODE] " (prompt_pwd) " $sign "
end
