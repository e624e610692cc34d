package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/insynclog/insync/examples/workers/story"
)

func TestRun(t *testing.T) {
	const records = 4000
	var out bytes.Buffer
	err := run(t.Context(), story.Options{Workers: 4, Records: records, Out: &out})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if got, want := lines[len(lines)-1], fmt.Sprintf("produced=%d applied=%d missing=0 repeated=0", records, records); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
