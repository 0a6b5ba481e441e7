"""Nova's fake driver, whose guests can take their time to start or fail to: as /etc/cloud/guests-HOST.json says, if
it is there: {"seconds": 2.5, "fail": true}. It is read anew for every guest."""

import json
import time

from nova import exception
from nova.virt import fake


class Driver(fake.FakeDriverWithoutFakeNodes):
    def spawn(self, context, instance, *args, **kwargs):
        wish = self._wish()
        time.sleep(wish.get("seconds", 0))
        if wish.get("fail"):
            raise exception.VirtualInterfaceCreateException()
        return super().spawn(context, instance, *args, **kwargs)

    def _wish(self):
        try:
            with open(f"/etc/cloud/guests-{self._host}.json") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}
