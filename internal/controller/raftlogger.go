package controller

import (
	"fmt"
	"log/slog"
)

// raftLogger passes raft's words on. Raft reports its whole life as it goes; what matters to an operator the driver says itself, so all but warnings is for debugging.
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) Debug(v ...any) { r.l.Debug(fmt.Sprint(v...), "from", "raft") }
func (r raftLogger) Debugf(format string, v ...any) {
	r.l.Debug(fmt.Sprintf(format, v...), "from", "raft")
}
func (r raftLogger) Info(v ...any)                 { r.Debug(v...) }
func (r raftLogger) Infof(format string, v ...any) { r.Debugf(format, v...) }
func (r raftLogger) Warning(v ...any)              { r.l.Warn(fmt.Sprint(v...), "from", "raft") }
func (r raftLogger) Warningf(format string, v ...any) {
	r.l.Warn(fmt.Sprintf(format, v...), "from", "raft")
}
func (r raftLogger) Error(v ...any) { r.l.Error(fmt.Sprint(v...), "from", "raft") }
func (r raftLogger) Errorf(format string, v ...any) {
	r.l.Error(fmt.Sprintf(format, v...), "from", "raft")
}

// Fatal and Panic must not return; the driver catches the panic and stops the node's controller, not the process.
func (r raftLogger) Fatal(v ...any)                 { panic(fmt.Sprint(v...)) }
func (r raftLogger) Fatalf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
func (r raftLogger) Panic(v ...any)                 { panic(fmt.Sprint(v...)) }
func (r raftLogger) Panicf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }
