package app_test

import (
	"os"
	"testing"

	"github.com/millrace-dev/millrace/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
