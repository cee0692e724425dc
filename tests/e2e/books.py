# SPDX-License-Identifier: Apache-2.0
"""The stand-ins' own books, and what they prove. Exchange's ledger says which mail arrived when, which callback told of it and
how that was answered; APNs' book says which push came when, for which device and under which collapse id. Nothing here asks
bellhop: a fault in its ledger cannot hide a lost mail.

Times are nanoseconds of CLOCK_MONOTONIC, the same clock for all processes of a host and for time.monotonic_ns()."""
import threading
import time

from processes import wait_until

# What is committed together: a crash loses what the hot state learned within this time (and may push it again).
TAIL_NS = 300_000_000
# A callback that took so long ran into bellhop's deadlines (notification.push_timeout_ms): what APNs accepted and could not say
# in time is pushed again.
DEADLINE_NS = 3_900_000_000


class Mail:
    def __init__(self, subject, entry):
        self.subject = subject
        self.mailbox = entry["mailbox"]
        self.item = entry["items"][0]
        self.arrived = entry["atNs"]
        self.told = entry["told"]
        self.attempts = []  # of callbacks that told of it

    def acknowledged(self):
        """When Exchange had its OK; None: never."""
        return min((a["atNs"] for a in self.attempts if a["answer"] == "ok"), default=None)


class Books:
    """Reads what both stand-ins have entered since the last look. They must keep enough (--ledger, --pushes-kept)."""

    def __init__(self, world):
        self.world = world
        self.entry, self.push = 0, 0
        self.mails, self.by_item, self.same_subject = {}, {}, []
        self.attempts, self.ended, self.pushes = [], [], []

    def read(self):
        while True:
            page = self.world.exchange("GET", f"/ledger?after={self.entry}&limit=5000")
            assert page["forgotten"] <= self.entry, "the Exchange stand-in has forgotten entries: keep more of them"
            for entry in page["entries"]:
                self._enter(entry)
            if page["last"] == self.entry:
                break
            self.entry = page["last"]
        while True:
            page = self.world.apns("GET", f"/pushes?after={self.push}&limit=5000")
            self.pushes += page["pushes"]
            if page["last"] == self.push:
                break
            self.push = page["last"]
        return self

    def _enter(self, entry):
        if entry["kind"] == "mail":
            subject = entry["subject"]
            mail = Mail(subject, entry)
            if subject in self.mails:
                self.same_subject.append(mail)
            self.mails.setdefault(subject, mail)
            self.by_item[(mail.mailbox, mail.item)] = mail
        elif entry["kind"] == "attempt":
            self.attempts.append(entry)
            for item in entry["items"]:
                self.by_item[(entry["mailbox"], item)].attempts.append(entry)
        else:
            self.ended.append(entry)

    def complete(self):
        """All that APNs ever accepted has been read."""
        assert len(self.pushes) == self.world.apns("GET", "/books")["accepted"], "the APNs stand-in has forgotten pushes"

    def in_flight(self, moment, tokens):
        """Pushes whose callback had begun at that moment, and had no answer."""
        count = 0
        for mail in self.by_item.values():
            told = acknowledged = False
            for attempt in mail.attempts:
                told |= attempt["begunNs"] <= moment
                acknowledged |= attempt["answer"] == "ok" and attempt["atNs"] <= moment
            count += len(tokens.get(mail.mailbox, ())) if told and not acknowledged else 0
        return count


def is_alert(push):
    return push["pushType"] == "alert" and bool(push["collapseId"]) and "alert" in push["payload"]["aps"]


def what(push):
    return push["payload"]["bellhop"]["what"]


class Verdict:
    """What the books say of the mails whose subjects begin with `prefix`. `tokens`: push tokens by mailbox address; `kills`:
    (when the server was killed, when the next one was ready). `after_push`: OK may come only after the push, never on the strength of a journal record."""

    def __init__(self, books, tokens, prefix, kills=(), after_push=True):
        self.lost, self.wrong_device, self.early_ok = [], [], []
        self.repeated, self.unexplained, self.shown_twice = [], [], []
        self.content_free = self.notices = self.past_deadline = 0
        self.mails = [mail for mail in books.by_item.values() if mail.subject.startswith(prefix)]
        self.in_flight_at_kills = [books.in_flight(killed, tokens) for killed, _ in kills]
        owner = {token: mailbox for mailbox, some in tokens.items() for token in some}
        begun = min((mail.arrived for mail in self.mails), default=0)
        by_token = {token: [] for token in owner}
        for push in books.pushes:
            if push["atNs"] < begun or not is_alert(push):
                continue
            mail = books.mails.get(push["body"])
            if mail and not mail.subject.startswith(prefix):
                continue
            stranger = mail and owner.get(push["deviceToken"]) != mail.mailbox
            if stranger or push["deviceToken"] not in owner:
                self.wrong_device.append(push)
            else:
                by_token[push["deviceToken"]].append(push)
        for token, pushes in by_token.items():
            mine = [mail for mail in self.mails if mail.mailbox == owner[token]]
            self._judge_phone(token, pushes, mine, books, kills, after_push)

    def _judge_phone(self, token, pushes, mine, books, kills, after_push):
        shown, subjects, bare = {}, {}, {}
        for push in pushes:
            collapse = push["collapseId"]
            if what(push) == "more_mail":
                self.notices += 1
                continue
            first = shown.setdefault(collapse, push)
            if first is not push:
                self.repeated.append((first, push))
                mail = books.mails.get(first["body"]) or books.mails.get(push["body"])
                if self._killed_between(mail, first, push, kills):
                    pass
                elif self._too_late(mail.attempts if mail else [a for one in mine for a in one.attempts], first, push):
                    self.past_deadline += 1
                else:
                    self.unexplained.append((first, push))
            if push["body"] in books.mails:
                subjects.setdefault(push["body"], set()).add(collapse)
                bare.pop(collapse, None)
            elif collapse not in {c for some in subjects.values() for c in some}:
                bare[collapse] = push
        for subject, collapses in subjects.items():
            if len(collapses) > 1:
                self.shown_twice.append((token, subject))
        # A push without content stands for one mail, by its collapse id: which one is bellhop's secret, so they are counted.
        self.content_free += len(bare)
        missing = [mail for mail in mine if mail.subject not in subjects]
        if len(missing) > len(bare):
            self.lost += [(token, mail.subject) for mail in missing[len(bare):]]
        if len(bare) > len(missing):
            self.shown_twice += [(token, "a push without content")] * (len(bare) - len(missing))
        if after_push and not bare:
            self._judge_order(token, subjects, pushes, mine)

    def _judge_order(self, token, subjects, pushes, mine):
        first = {}
        for push in pushes:
            first.setdefault(push["body"], push["atNs"])
        for mail in mine:
            acknowledged = mail.acknowledged()
            if acknowledged is not None and mail.subject in subjects and acknowledged < first[mail.subject]:
                self.early_ok.append((token, mail.subject, first[mail.subject] - acknowledged))

    @staticmethod
    def _too_late(attempts, first, again):
        """The callback that made the first push lasted beyond the deadlines, and was over before the second one."""
        return any(a["begunNs"] <= first["atNs"] and a["atNs"] <= again["atNs"] and a["atNs"] - a["begunNs"] >= DEADLINE_NS
                   for a in attempts)

    @staticmethod
    def _killed_between(mail, first, again, kills):
        """A repeat is one of a crash: the kill came between the two, and neither Exchange's OK nor the first push was long ago."""
        for killed, ready in kills:
            # What was on its way when the server died is accepted until the next one is there.
            if not first["atNs"] <= ready or not killed <= again["atNs"]:
                continue
            acknowledged = mail.acknowledged() if mail else None
            if acknowledged is None or acknowledged >= killed - TAIL_NS or first["atNs"] >= killed - TAIL_NS:
                return True
        return False

    def good(self):
        bound = sum(self.in_flight_at_kills)
        return not (self.lost or self.wrong_device or self.early_ok or self.unexplained or len(self.shown_twice) > bound)

    def story(self, books, kills):
        """Of the first mail that is concerned: what the books say of it, in milliseconds since it arrived."""
        subjects = [subject for _, subject in self.lost] + [one[1] for one in self.early_ok] + [subject for _, subject in self.shown_twice]
        subjects += [push["body"] for push in self.wrong_device] + [pair[0]["body"] for pair in self.unexplained]
        mail = next((books.mails[subject] for subject in subjects if subject in books.mails), None)
        if not mail:
            return "the books have no story"
        events = [(killed, "kill") for killed, _ in kills] + [(ready, "ready again") for _, ready in kills]
        for number, attempt in enumerate(books.attempts):
            if attempt["mailbox"] != mail.mailbox:
                continue
            its = "with it" if mail.item in attempt["items"] else "without it"
            events.append((attempt["begunNs"], f"callback {number} {its} begins: {len(attempt['items'])} mails, attempt {attempt['attempt']}"))
            events.append((attempt["atNs"], f"callback {number} {its} ends: {attempt['answer']} {attempt['status']} {attempt.get('error', '')}"))
        events += [(push["atNs"], f"push to …{push['deviceToken'][-6:]}, {push['collapseId'][:8]}") for push in books.pushes if push["body"] == mail.subject]
        last = max([at for at, text in events if text.startswith("push") or "with it" in text], default=mail.arrived)
        lines = [f"  {(at - mail.arrived) / 1e6:10.1f} ms  {text}" for at, text in sorted(events)
                 if mail.arrived - 2e9 <= at <= last + 2e9 and ("without" not in text or abs(at - mail.arrived) < 2e10)]
        return f"the story of {mail.subject}, which arrived at 0:\n" + "\n".join(lines[:200])

    def __str__(self):
        text = (f"{len(self.mails)} mails: lost {len(self.lost)}, wrong device {len(self.wrong_device)}, OK before the push "
                f"{len(self.early_ok)}, shown twice {len(self.shown_twice)}, repeated under one collapse id {len(self.repeated)} "
                f"({self.past_deadline} past a deadline, {len(self.unexplained)} without cause), without content {self.content_free}, notices of more mail {self.notices}")
        if self.in_flight_at_kills:
            text += f"; pushes in flight at {len(self.in_flight_at_kills)} kills {sum(self.in_flight_at_kills)}"
        for name in ("lost", "wrong_device", "early_ok", "unexplained", "shown_twice"):
            if getattr(self, name):
                text += f"\n  {name}, the first: {getattr(self, name)[:3]}"
        return text


class Load(threading.Thread):
    """Mails to the mailboxes in turn, subjects "PREFIX-0" …, so many a second, until it is stopped."""

    STEP = 0.02  # seconds between two requests

    def __init__(self, world, prefix, rate, mailboxes):
        super().__init__(daemon=True)
        self.world, self.prefix, self.rate, self.mailboxes = world, prefix, rate, mailboxes
        self.sent, self.stopping, self.failure = 0, threading.Event(), None

    def run(self):
        begun = time.monotonic()
        try:
            while not self.stopping.wait(self.STEP):
                due = int((time.monotonic() - begun) * self.rate)
                mails = [{"address": self.mailboxes[number % len(self.mailboxes)], "subject": f"{self.prefix}-{number}"}
                         for number in range(self.sent, min(due, self.sent + 500))]
                if mails:
                    self.world.exchange("POST", "/deliver", {"mails": mails})
                    self.sent += len(mails)
        except AssertionError as error:
            self.failure = error

    def stop(self):
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure


def register_all(world, mailboxes, second_devices=0):
    """A device for each of the first mailboxes, and a second one for the first few of them; push tokens by address."""
    world.run("load", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem", "--ews-url", world.ews_url,
              "--exchange-control", f"127.0.0.1:{world.exchange_control}", "--apns-control", f"127.0.0.1:{world.apns_control}",
              "--password", world.password, "--mailboxes", str(mailboxes), "--keep-registered", *world.version,
              "--domain", world.domain, "--mails", str(mailboxes))
    tokens = {f"user{number}@{world.domain}": [world.push_token(number)] for number in range(1, mailboxes + 1)}
    for number in range(1, second_devices + 1):
        token = world.push_token(100_000 + number)
        world.run("device", "subscribe", "--server", world.url, "--api-token", world.token, "--ca", f"{world.folder}/ca.pem",
                  "--address", f"user{number}@{world.domain}", "--device-id", f"second-{number}", "--push-token", token,
                  "--ews-url", world.ews_url, "--password", world.password, *world.version)
        tokens[f"user{number}@{world.domain}"].append(token)
    return tokens


def settle(world, seconds=60):
    """Waits until Exchange has an answer for everything that it has to tell."""
    wait_until("Exchange has nothing left to tell", lambda: world.exchange("GET", "/books")["eventsPending"] == 0, seconds)


CONFIG = """[limits]
subscribe_per_address_per_minute = 100000
getpublickey_per_address_per_minute = 100000
[notification]
callbacks_per_mailbox_per_minute_max = 100000
merge_above = 1000
"""
