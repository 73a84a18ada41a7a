package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FindAccess completes what was given with the dev.json of the data folder.
// Where a URL was given nothing is: a key of one gateway is never sent to
// another.
func FindAccess(given DevAccess, data string) (DevAccess, error) {
	if given.URL != "" || (given.ProjectID != "" && given.APIKey != "") {
		given.URL = cmp.Or(given.URL, "http://"+DefaultConfig().Server.Listen)
		if given.APIKey == "" {
			return given, errors.New("the API key is missing: set --api-key or MILLRACE_API_KEY")
		}
		return given, nil
	}
	file := filepath.Join(data, DevFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return given, fmt.Errorf("there is no %s, so `millrace dev` has not run here: start it, or set MILLRACE_URL, MILLRACE_PROJECT_ID and MILLRACE_API_KEY", file)
	}
	var dev DevAccess
	if err == nil {
		err = json.Unmarshal(text, &dev)
	}
	if err != nil {
		return given, fmt.Errorf("read %s: %w", file, err)
	}
	return DevAccess{
		URL: dev.URL, ProjectID: cmp.Or(given.ProjectID, dev.ProjectID), APIKey: cmp.Or(given.APIKey, dev.APIKey),
	}, nil
}
