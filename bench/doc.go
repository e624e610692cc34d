// Package bench measures insync beside the limit of each path, in the same run.
//
//	go test -run '^$' -bench . -benchtime 1s -timeout 1h | go run ./summary
//
// The last element of a benchmark's name says what was measured: "insync", or "limit", which does the same bytes with a minimal loop of ours: plain writes, plain syncs, a broker that only frames and answers. Ratios count;
// absolute figures are those of the machine. Repeat the whole command's first half several times for one summary rather than to use -count, which repeats each benchmark before it goes on: on a shared machine the two
// sides of a pair are to be measured close together.
package bench
