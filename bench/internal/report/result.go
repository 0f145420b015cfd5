// Package report is how a benchmark's findings are kept, and shown as tables.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/minidock/minidock/bench/internal/rounds"
)

// Result is what one benchmark found on one machine, as bench/results keeps it.
type Result struct {
	// Title names the machine.
	Title       string        `json:"title"`
	Date        time.Time     `json:"date"`
	Machine     Machine       `json:"machine"`
	Comparisons []*Comparison `json:"comparisons"`
}

// Comparison is one quantity, measured side by side in interleaved rounds.
type Comparison struct {
	Title string `json:"title"`
	// Unit is that of all samples.
	Unit string `json:"unit"`
	// MoreIsBetter tells rates from times.
	MoreIsBetter bool `json:"more_is_better"`
	// Reference names the contender with whom the others are compared.
	Reference string `json:"reference"`
	// Goal is the least ratio that was asked for; 0 for none.
	Goal float64 `json:"goal,omitempty"`
	// Pairs are others to be compared, the first with the second of them.
	Pairs [][2]string `json:"pairs,omitempty"`
	// Turn says what a contender does in each round.
	Turn string `json:"turn"`
	// Notes say what differs between the contenders, and what was left out.
	Notes      []string     `json:"notes,omitempty"`
	Contenders []*Contender `json:"contenders"`
}

// Contender is one who was measured.
type Contender struct {
	Name string `json:"name"`
	// Samples holds one value for each round.
	Samples []float64 `json:"samples"`
	Median  float64   `json:"median"`
	Best    float64   `json:"best"`
	// Ratio says how good it is beside the reference, whichever way the quantity goes:
	// above 1 is better.
	Ratio *rounds.Ratio `json:"ratio,omitempty"`
}

// Begin describes the machine before anything is measured on it.
func Begin(title string) (*Result, error) {
	m, err := DescribeMachine()
	return &Result{Title: title, Date: time.Now().UTC().Truncate(time.Second), Machine: m}, err
}

// Add sums a comparison up, all of whose contenders have as many samples.
func (r *Result) Add(c *Comparison) {
	base := c.contender(c.Reference)
	for _, one := range c.Contenders {
		one.Median, one.Best = rounds.Median(one.Samples), slices.Min(one.Samples)
		if c.MoreIsBetter {
			one.Best = slices.Max(one.Samples)
		}
		if base != nil && base != one {
			one.Ratio = c.compare(one, base)
		}
	}
	r.Comparisons = append(r.Comparisons, c)
}

// compare says how good a is beside b.
func (c *Comparison) compare(a, b *Contender) *rounds.Ratio {
	if c.MoreIsBetter {
		return rounds.Compare(single(a.Samples), single(b.Samples))
	}
	return rounds.Compare(single(b.Samples), single(a.Samples))
}

func (c *Comparison) contender(name string) *Contender {
	for _, one := range c.Contenders {
		if one.Name == name {
			return one
		}
	}
	return nil
}

// single makes a round of each sample.
func single(samples []float64) [][]float64 {
	list := make([][]float64, len(samples))
	for i, s := range samples {
		list[i] = []float64{s}
	}
	return list
}

// Write writes the result as JSON.
func (r *Result) Write(w io.Writer) error { return Encode(w, r) }

// Encode writes a benchmark's result as bench/results keeps it.
func Encode(w io.Writer, result any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

// Read reads a file that [Encode] wrote.
func Read[R any](file string) (result R, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return result, fmt.Errorf("read result: %w", err)
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return result, fmt.Errorf("read result %s: %w", file, err)
	}
	return result, nil
}
