package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// downstream is the service that this one calls; without a base URL there is none, and its answers are empty.
type downstream struct {
	base   string
	client *http.Client
}

func newDownstream(base string) *downstream {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return &downstream{base, &http.Client{Transport: transport}}
}

func (service *downstream) item(ctx context.Context, id string) (string, error) {
	if service.base == "" {
		return "", nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, service.base+"/item?id="+id, nil)
	if err != nil {
		return "", err
	}
	response, err := service.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the downstream service answered %s", response.Status)
	}
	return string(body), err
}
