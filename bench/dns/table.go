package main

import (
	"fmt"

	"github.com/minidock/minidock/bench/internal/report"
)

// comparisons puts what was measured of the servers side by side.
func comparisons(p plan, servers []*server) []*report.Comparison {
	of := fmt.Sprintf("DNS questions for %d names, %d at a time", p.names, p.askers)
	rate := &report.Comparison{Title: of + ": answers per second", Unit: "/s", MoreIsBetter: true, Goal: 1}
	slow := &report.Comparison{Title: of + ": the time within which 99% are answered", Unit: "µs", Goal: 1}
	paced := &report.Comparison{Title: fmt.Sprintf("DNS questions for %d names, %d a second: the time within which 99%% are answered", p.names, p.pace), Unit: "µs", Goal: 1}
	cpu := &report.Comparison{Title: of + ": the server's CPU time for one", Unit: "µs"}
	for _, s := range servers {
		rate.Contenders = append(rate.Contenders, &report.Contender{Name: s.name, Samples: s.perSecond})
		slow.Contenders = append(slow.Contenders, &report.Contender{Name: s.name, Samples: s.slowest})
		paced.Contenders = append(paced.Contenders, &report.Contender{Name: s.name, Samples: s.paced})
		cpu.Contenders = append(cpu.Contenders, &report.Contender{Name: s.name, Samples: s.cpu})
	}
	all := []*report.Comparison{rate, slow, paced, cpu}
	for _, c := range all {
		c.Reference = servers[0].name
		c.Turn = fmt.Sprintf("%v over UDP, every answer held against what it has to be.", p.time)
		for _, s := range servers {
			c.Notes = append(c.Notes, s.name+": "+s.version)
		}
	}
	return all
}
