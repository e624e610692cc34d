package log

// Abandon closes the files of a log opened with Open and lets its lock go without writing anything: what a crash leaves. For tests, and for owners that can no longer be right.
// A log of a Directory is abandoned with it, or for Directory.OpenLog to open it again after it has ended.
func (l *Log) Abandon() {
	l.abandon()
	if l.home.alone {
		l.home.abandon()
	}
}
