package storetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Replica is a streaming replica of a Server, which the test may stop, kill and
// start again as well, and hold back.
type Replica struct{ *Server }

// Replica starts a streaming replica of the server; it ends with the test.
func (s *Server) Replica(t testing.TB) *Replica {
	t.Helper()
	copied, err := copyServer(s.server)
	if err != nil {
		t.Fatal(err)
	}
	return &Replica{owned(t, copied)}
}

// PauseReplay makes the replica take in what the primary writes and show none
// of it.
func (r *Replica) PauseReplay() {
	r.t.Helper()
	execute(r.t, r.URL(), `
		DO $$ BEGIN
			PERFORM pg_wal_replay_pause();
			WHILE pg_get_wal_replay_pause_state() <> 'paused' LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END $$`)
}

// ResumeReplay makes it show all of it.
func (r *Replica) ResumeReplay() {
	r.t.Helper()
	execute(r.t, r.URL(), `SELECT pg_wal_replay_resume()`)
}

// Promote makes a primary of the replica and waits until it takes writes.
func (r *Replica) Promote() {
	r.t.Helper()
	execute(r.t, r.URL(), `SELECT pg_promote()`)
}

// copyServer makes a server of a copy of the primary's files that follows it.
func copyServer(primary *server) (*server, error) {
	dir, err := os.MkdirTemp("", "millrace-replica-")
	if err != nil {
		return nil, err
	}
	s := &server{bin: primary.bin, dir: dir, more: primary.more}
	if err = s.follow(primary); err == nil {
		err = s.run()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// follow copies the primary's files and leaves word that they are a replica's.
func (s *server) follow(primary *server) error {
	var err error
	if s.who, err = credential(s.dir); err != nil {
		return err
	}
	backup := s.command(filepath.Join(s.bin, "pg_basebackup"), "-h", "127.0.0.1", "-p", primary.port, "-U", "postgres", "-D", s.data(),
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return s.listen()
}
