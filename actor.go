package millrace

import "context"

type actorKey struct{}

// WithActor says in whose name what follows is done, for the audit: an API
// key's prefix, or a command.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Actor is in whose name something is done; "gateway" where nobody else said.
func Actor(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return "gateway"
}
