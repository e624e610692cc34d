// Package vfs is the one path to disk: a small file system interface, the operating system's implementation and one in memory that can crash.
//
//	log, segment, cluster, internal/controller
//	            |
//	        vfs.FS ── File ── Mapping
//	        /          \
//	  OS()              NewMem()
//	  the kernel         page cache  ── Sync, SyncDir ──>  durable image
//	                         └────────── Crash ─────────────────┘
//
// Nothing else in the library opens, renames or removes a file, so that whatever a disk can do to a log can be done to it in a test:
// lose what was not synced, tear it at a sector, run full, fail at the n-th operation, be slow.
//
// # What is durable when
//
// Bytes and size of a file are durable after File.Sync or Mapping.Sync returned nil. The name of a file or directory (its creation, its
// new name, its removal) is durable after SyncDir of the directory that holds the name returned nil; MkdirAll of a/b/c therefore
// needs SyncDir of a/b, of a and of its parent. Mem holds callers to exactly that, also where a kernel's journal would be kinder.
//
// A failed Sync is final: the kernel may have marked the pages clean, so that the next Sync succeeds without having written them. Mem
// does the same. Whoever sees the error has to stop trusting the file above the last Sync that succeeded.
//
// # Mapped files
//
// A mapping must have its blocks allocated first (Preallocate), and a file must not be shortened while it is mapped: the kernel
// answers an access to a page that is not there with SIGBUS, and Go ends the process for it. Guard turns that signal into an error.
//
// # Concurrency
//
// An FS and its files are safe for concurrent use, as the system calls are: two writes to the same bytes leave either, a read beside a
// write may see part of it. A Mapping is plain memory; its users order their accesses themselves.
//
// # What it does not do
//
// No buffering, no caching of open files, no relative directory handles, no permissions beyond the umask, no links. It knows no file format.
package vfs
