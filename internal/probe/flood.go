package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

// A flooded line is its number in numberWidth digits, a space, filling, and a
// newline.
const numberWidth = 10

// floodPiece is about how much is written at a time, in bytes: what a pipe holds
// (pipe(7)).
const floodPiece = 64 << 10

// floodAhead is how far the flood may be ahead of its rate before it waits: to
// wait for each piece costs more than to write it.
const floodAhead = 5 * time.Millisecond

// flood writes numbered lines of one width to standard output, at a rate, and
// then says on standard error how many, and how long it took.
func flood(args []string) error {
	rate, width := 0.0, 100
	text, err := parse("flood", args, func(set *flag.FlagSet) {
		set.Float64Var(&rate, "rate", 0, "MiB in a second; 0 is as fast as can be")
		set.IntVar(&width, "width", 100, "bytes of a line, the newline included")
	})
	if err != nil {
		return err
	}
	total, err := strconv.ParseFloat(text, 64)
	if err != nil || total <= 0 || rate < 0 || width < numberWidth+2 || width > floodPiece {
		return usage(fmt.Sprintf("flood needs a number of MiB, and lines of %d to %d bytes", numberWidth+2, floodPiece))
	}
	lines, start := int(total*mib)/width, time.Now()
	if err := pour(lines, width, rate*mib); err != nil {
		return err
	}
	return json.NewEncoder(os.Stderr).Encode(map[string]any{"lines": lines, "seconds": time.Since(start).Seconds()})
}

// pour writes the lines in pieces that are made once: only the numbers change.
func pour(lines, width int, rate float64) error {
	line := append(bytes.Repeat([]byte{'x'}, width-1), '\n')
	line[numberWidth] = ' '
	piece := bytes.Repeat(line, floodPiece/width)
	start, written := time.Now(), 0
	for n := 0; n < lines; {
		fresh := piece[:min(floodPiece/width, lines-n)*width]
		for at := 0; at < len(fresh); at += width {
			writeNumber(fresh[at:at+numberWidth], n)
			n++
		}
		if _, err := os.Stdout.Write(fresh); err != nil {
			return err
		}
		written += len(fresh)
		if rate == 0 {
			continue
		}
		due := time.Duration(float64(written) / rate * float64(time.Second))
		if ahead := due - time.Since(start); ahead > floodAhead {
			time.Sleep(ahead)
		}
	}
	return nil
}

func writeNumber(digits []byte, n int) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
}
