package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The README's table lists every verb that the definitions have.
func TestReadmeListsEveryVerb(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, words := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			named = append(named, strings.Fields(words[1])[0])
		}
	}
	table := " " + strings.Join(named, " ") + " "
	for _, c := range commands() {
		if !strings.Contains(table, " "+c.Name+" ") && !strings.Contains(string(text), "also `images`, `"+c.Name+"`") && c.Name != "images" {
			t.Errorf("README.md does not list %s", c.Name)
		}
	}
}
