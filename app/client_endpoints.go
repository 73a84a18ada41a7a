package app

import (
	"context"
	"net/http"
)

// CreateEndpointOf makes an endpoint of the members that the API has for one,
// such as those of a broker; its answer shows the secrets in full.
func (c *Client) CreateEndpointOf(ctx context.Context, members map[string]any) (made Item[EndpointRow], err error) {
	return made, c.call(ctx, request{method: http.MethodPost, path: c.ofProject("/endpoints"), body: members}, &made)
}
