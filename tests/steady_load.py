"""Shoppers who keep asking a service from several connections, and every answer that they get."""

import http.client
import json
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np

JSON = {"content-type": "application/json"}
PAUSE_S = 0.01  # of each connection after an answer


class SteadyLoad:
    """Asks for each of some users in turn, for as long as the block lasts, from so many connections.

    `answers` are those with 200, in the order in which they came; `lost` what was anything else.
    """

    def __init__(self, url, users, *, connections=4, **body):
        self.users, self.body, self._place = users, {"k": 5, **body}, urlsplit(url).netloc
        self.sent, self.answers, self.lost = [0] * connections, [], []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(connections)]

    def _ask(self, n):
        rng, mine = np.random.default_rng(n), self.users[n :: len(self.sent)]
        with closing(http.client.HTTPConnection(self._place, timeout=30)) as connection:
            while not self._over.is_set():
                for user in rng.permutation(mine).tolist():
                    self.sent[n] += 1
                    try:
                        body = json.dumps({"user_id": user, **self.body})
                        connection.request("POST", "/online/recommend", body, JSON)
                        response = connection.getresponse()
                        content = response.read()
                    except (OSError, http.client.HTTPException) as error:
                        self.lost.append(error)
                        connection.close()
                        continue
                    if response.status == 200:
                        self.answers.append(json.loads(content))
                    else:
                        self.lost.append(content)
                    time.sleep(PAUSE_S)

    def all_again(self, seconds=60):
        """Wait until each user was answered after now, and give the answers since."""
        begun, deadline = len(self.answers), time.monotonic() + seconds
        while {each["user_id"] for each in self.answers[begun:]} < set(self.users):
            assert time.monotonic() < deadline, self.lost
            time.sleep(0.02)
        return self.answers[begun:]

    def __enter__(self):
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for each in self._threads:
            each.join()
