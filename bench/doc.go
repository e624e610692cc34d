// Package bench measures insync beside the raw limit of each path, in the same run.
//
//	go test -bench . -benchtime 3s
//
// Each benchmark is named after the path; its "limit" variant does the same bytes with a minimal loop of ours: plain writes, plain syncs, a broker that only frames and answers. Ratios count, absolute figures are
// those of the machine.
package bench
