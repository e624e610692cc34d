// Package log is one partition's log: an ordered run of record batches in segment files.
package log
