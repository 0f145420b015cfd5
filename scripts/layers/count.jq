# Counts the tests in a stream of `go test -json` lines ($layer, $status are given). A test with subtests stands for
# them and is not counted itself, unless it failed and none of them did.

def ancestors: . as $name | [indices("/")[] | $name[:.]];

[inputs | fromjson?] as $events
| ($events | map(select(.Test and (.Action | IN("run", "pass", "fail", "skip"))))
    | group_by([.Package, .Test])
    | map({package: .[0].Package, test: .[0].Test, end: (map(.Action) - ["run"] | last // "fail")})) as $tests
| ($tests | map(.package as $p | .test | ancestors[] | {key: "\($p) \(.)", value: true}) | from_entries) as $parents
| ($tests | map(select(.end == "fail") | .package as $p | .test | ancestors[] | {key: "\($p) \(.)", value: true})
    | from_entries) as $blamed
| ($tests | map("\(.package) \(.test)" as $id
    | select(($parents[$id] | not) or (.end == "fail" and ($blamed[$id] | not))))) as $counted
# A package that fails with no failed test did not build, or died outside its tests.
| ($counted | map(select(.end == "fail").package)) as $explained
| ($events | map(select(.Action == "fail" and (.Test | not) and .Package).Package) | unique - $explained) as $broken
| ($events | map(select(.Action == "output" and .Test and (.Output | test("^ +[^ ]+\\.go:[0-9]+: (?!WORK=)[^ \\n]")))
    | {key: "\(.Package) \(.Test)", value: (.Output | sub("^ +[^ ]+\\.go:[0-9]+: "; "") | rtrimstr("\n"))})
    | from_entries) as $remarks
| ($counted | map(select(.end == "skip") | $remarks["\(.package) \(.test)"] // "no reason given")
    | group_by(.) | map({reason: .[0], count: length}) | sort_by(-.count)) as $skips
| ($counted | map(select(.end == "pass")) | length) as $passed
| ($counted | map(select(.end == "fail")) | length + ($broken | length)) as $failed
| (if $status != 0 and $failed == 0 then 1 else $failed end) as $failed
| "\($layer): \($passed) passed, \($failed) failed, \($skips | map(.count) | add // 0) skipped",
  ($skips[] | "    skipped \(.count) × \(.reason)"),
  ($broken[] | "    \(.) failed outside its tests"),
  ($counted[] | select(.end == "fail") | "    failed: \(.package) \(.test)")
