# SPDX-License-Identifier: Apache-2.0
"""exchangelib as a process: arguments URL ADDRESS PASSWORD; one JSON command a line on standard input, one JSON answer a line on
standard output. An answer with "error" is the class of what exchangelib, or requests below it, raised. ews_client.js understands the same commands.
"""
import json
import sys
import time

import requests
from exchangelib import BASIC, DELEGATE, Account, Build, Configuration, Credentials, Version
from exchangelib.errors import EWSError


def connect(url, address, password):
    configuration = Configuration(service_endpoint=url, credentials=Credentials(address, password), auth_type=BASIC,
                                  version=Version(Build(15, 1, 2507, 39)))
    return Account(address, config=configuration, autodiscover=False, access_type=DELEGATE)


def streaming(account, command):
    """The first event of a stream; `subscribed` is told before, so that a mail can be sent in between."""
    inbox = account.inbox
    subscription = inbox.subscribe_to_streaming(event_types=["NewMailEvent"])
    print(json.dumps({"subscribed": subscription}), flush=True)
    for notification in inbox.get_streaming_events(subscription, connection_timeout=1):
        events = [type(event).__name__ for event in notification.events]
        if events:
            return {"events": events}
    return {"events": []}


def run(account, command):
    what = command["do"]
    if what == "folder":
        account.inbox.refresh()
        return {"name": account.inbox.name, "total": account.inbox.total_count, "unread": account.inbox.unread_count}
    if what == "find":
        return {"subjects": [one.subject for one in account.inbox.all().only("subject").order_by("-datetime_received")]}
    if what == "get":
        ids = [(one.id, one.changekey) for one in account.inbox.all().only("subject").order_by("-datetime_received")[:1]]
        message = next(iter(account.fetch(ids)))
        return {"subject": message.subject, "sender": message.sender.email_address}
    if what == "push":
        subscription, watermark = account.inbox.subscribe_to_push(command["url"], event_types=["NewMailEvent"], status_frequency=30)
        return {"subscription": subscription, "watermark": bool(watermark)}
    if what == "pull":
        subscription, watermark = account.inbox.subscribe_to_pull(event_types=["NewMailEvent"])
        print(json.dumps({"subscribed": subscription}), flush=True)
        sys.stdin.readline()  # "go on"
        notifications = list(account.inbox.get_events(subscription, watermark))
        account.inbox.unsubscribe(subscription)
        return {"events": [type(event).__name__ for one in notifications for event in one.events]}
    if what == "stream":
        return streaming(account, command)
    if what == "resolve":
        return {"addresses": [one.email_address for one in account.protocol.resolve_names([command["name"]])]}
    raise ValueError(what)


account = connect(*sys.argv[1:4])
while line := sys.stdin.readline():
    begun = time.monotonic()
    try:
        answer = run(account, json.loads(line))
    except (EWSError, requests.RequestException) as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    answer["seconds"] = time.monotonic() - begun
    print(json.dumps(answer), flush=True)
