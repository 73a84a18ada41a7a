package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace-dev/millrace/app"
)

type deadLetters struct {
	List    listDeadLetters   `cmd:"" help:"List the dead letters."`
	Show    showDeadLetter    `cmd:"" help:"Show one with its history and raw bytes."`
	Redrive redriveDeadLetter `cmd:"" help:"Process dead letters once more."`
	Discard discardDeadLetter `cmd:"" help:"Settle dead letters without processing them."`
}

// ofInstance is the flag of the commands that work on dead letters.
type ofInstance struct {
	Instance bool `help:"All projects' and those of none (needs an instance key)."`
}

type listDeadLetters struct {
	access
	ofInstance
	Stage   string `placeholder:"STAGE" help:"Only of this stage."`
	Settled bool   `help:"With those that are done with."`
}

// Help shows the command in use.
func (listDeadLetters) Help() string {
	return `    millrace dead-letters list
    millrace dead-letters list --stage fanout --json`
}

// Run lists dead letters.
func (d listDeadLetters) Run(ctx context.Context, s *screen) error {
	c, err := d.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.DeadLetters(ctx, app.DeadLetterFilter{Instance: d.Instance, Stage: d.Stage, Settled: d.Settled})
	if err != nil {
		return err
	}
	return s.data(found, func() {
		var rows [][]string
		for _, f := range found {
			state := f.Is.Settled
			if state == "" {
				state = "open"
			}
			rows = append(rows, []string{f.Is.ID, f.Is.Stage, f.Is.Reason, state, when(f.Is.CreatedAt), shortened(f.Is.Error, 60)})
		}
		s.table("There are no dead letters.", "ID\tSTAGE\tREASON\tSTATE\tSINCE\tERROR", rows)
	})
}

func shortened(text string, most int) string {
	if letters := []rune(text); len(letters) > most {
		return string(letters[:most]) + "…"
	}
	return text
}

type showDeadLetter struct {
	access
	ofInstance
	ID string `arg:"" help:"Its id."`
}

// Help shows the command in use.
func (showDeadLetter) Help() string {
	return `    millrace dead-letters show 019e0b3c-7e80-7000-8000-000000000001`
}

// Run shows a dead letter.
func (d showDeadLetter) Run(ctx context.Context, s *screen) error {
	c, err := d.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.DeadLetter(ctx, d.ID, d.Instance)
	if err != nil {
		return err
	}
	return s.data(found, func() {
		f := found.Is
		s.pairs("dead letter", f.ID, "stage", f.Stage, "reason", f.Reason, "error", f.Error, "event", f.EventID,
			"delivery", f.DeliveryID, "since", when(f.CreatedAt), "settled", f.Settled)
		for i, h := range f.History {
			s.say("%d. %s", i+1, h)
		}
		s.say("%s", indented(f.Raw))
	})
}

// several are the arguments of the commands that settle dead letters.
type several struct {
	access
	ofInstance
	IDs []string `arg:"" name:"id" help:"Their ids."`
}

// settle does something to each, and says what became of it.
func (d several) settle(s *screen, one func(c *app.Client, id string) (app.Item[app.DeadLetterRow], error)) error {
	c, err := d.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var faults error
	done := []app.Item[app.DeadLetterRow]{}
	for _, id := range d.IDs {
		settled, err := one(c, id)
		if err != nil {
			faults = errors.Join(faults, fmt.Errorf("%s: %w", id, err))
			continue
		}
		done = append(done, settled)
	}
	told := s.data(done, func() {
		for _, settled := range done {
			s.say("%s   %s", settled.Is.ID, settled.Is.Settled)
		}
	})
	return errors.Join(faults, told)
}

type redriveDeadLetter struct{ several }

// Help shows the command in use.
func (redriveDeadLetter) Help() string {
	return `A delivery is sent again; an event passes its stages again.

    millrace dead-letters redrive 019e0b3c-7e80-7000-8000-000000000001`
}

// Run redrives dead letters.
func (d redriveDeadLetter) Run(ctx context.Context, s *screen) error {
	return d.settle(s, func(c *app.Client, id string) (app.Item[app.DeadLetterRow], error) {
		return c.Redrive(ctx, id, d.Instance)
	})
}

type discardDeadLetter struct{ several }

// Help shows the command in use.
func (discardDeadLetter) Help() string {
	return `    millrace dead-letters discard 019e0b3c-7e80-7000-8000-000000000001`
}

// Run discards dead letters.
func (d discardDeadLetter) Run(ctx context.Context, s *screen) error {
	return d.settle(s, func(c *app.Client, id string) (app.Item[app.DeadLetterRow], error) {
		return c.Discard(ctx, id, d.Instance)
	})
}
