package localstores

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAccountMayEnterAFolder(t *testing.T) {
	stranger := account{name: "stranger", uid: 4242, gid: 4242, dropped: true}
	ourselves := account{}
	for _, c := range []struct {
		name    string
		account account
		parent  os.FileMode
		want    bool
	}{
		{"that is open to all", stranger, 0o755, true},
		{"that others may pass through", stranger, 0o711, true},
		{"not where others may only list it", stranger, 0o744, false},
		{"not below one that is its owner's alone", stranger, 0o700, false},
		{"of its own, whatever its mode, as it is who we are", ourselves, 0o700, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig(t)
			parent := filepath.Dir(cfg.Data)
			dir := filepath.Join(parent, "deep")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(parent, c.parent); err != nil {
				t.Fatal(err)
			}
			err := c.account.mayEnter(dir)
			if (err == nil) != c.want {
				t.Fatalf("mayEnter = %v, want allowed: %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), parent) {
				t.Errorf("error %q does not name the folder that stops it, %s", err, parent)
			}
		})
	}
}

func TestStateFolder(t *testing.T) {
	cfg := testConfig(t)
	data := folder{path: filepath.Dir(cfg.Data)}
	umask := syscall.Umask(0o077)
	home, err := stateHome(data, cfg.StateDir)
	syscall.Umask(umask)
	if err != nil || filepath.Dir(home) != cfg.StateDir {
		t.Fatalf("home = %s, %v", home, err)
	}
	t.Run("lets other users in whatever our umask", func(t *testing.T) {
		if err := (account{uid: 4242, gid: 4242, dropped: true}).mayEnter(home); err != nil {
			t.Error(err)
		}
	})
	t.Run("is found again by postgres.path", func(t *testing.T) {
		if again, err := stateHome(data, "/elsewhere"); err != nil || again != home {
			t.Errorf("home = %s, %v, want %s", again, err, home)
		}
	})
	t.Run("that is gone is not replaced by an empty one in silence", func(t *testing.T) {
		if err := os.RemoveAll(home); err != nil {
			t.Fatal(err)
		}
		if _, err := stateHome(data, cfg.StateDir); err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("is not made where an ordinary user has a database", func(t *testing.T) {
		if err := os.Remove(data.file("postgres.path")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(data.file("postgres"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := stateHome(data, cfg.StateDir); err == nil || !strings.Contains(err.Error(), "was made by an ordinary user") {
			t.Errorf("error = %v", err)
		}
	})
}
