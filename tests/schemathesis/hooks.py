"""What schemathesis must know of this API."""

import schemathesis


@schemathesis.hook
def map_body(context, body):
    # A stream lasts until its task ends.
    if isinstance(body, dict):
        body.pop("StreamProgress", None)
    return body


@schemathesis.check
def no_internal_error(context, response, case):
    """Some task types refuse with 500, as the contract says; such an answer is a problem
    with a code of its own. What nobody foresaw has the code `internal`, or none."""
    if response.status_code < 500:
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind.startswith("application/problem+json"), f"{response.status_code} {kind}: {response.text[:300]}"
    assert response.json().get("code") != "internal", response.text[:300]
