"""A sensor and a dashboard with slixmpp: prints each reading that the dashboard is notified of, then ends."""

import asyncio
import os
import sys

import slixmpp
from slixmpp.xmlstream import ET

NODE = os.environ["NODE_NAME"]
VALUES = os.environ["VALUES"].split(",")
SERVICE = "pubsub.localhost"


class Client(slixmpp.ClientXMPP):
    def __init__(self, user):
        super().__init__(f"{user}@localhost", os.environ["PASSWORD"])
        self.ca_certs = os.environ["CA"]
        self.register_plugin("xep_0060")
        self.ready = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", lambda _: self.ready.set_result(True))
        self.add_event_handler("failed_all_auth", lambda _: sys.exit("login failed"))
        self.connect(("127.0.0.1", int(os.environ["PORT"])))


async def story():
    sensor, dashboard = Client("sensor"), Client("dashboard")
    await asyncio.wait_for(asyncio.gather(sensor.ready, dashboard.ready), 20)
    dashboard.send_presence()
    seen = asyncio.Queue()
    dashboard.add_event_handler("pubsub_publish", lambda message: seen.put_nowait(message))
    await sensor["xep_0060"].create_node(SERVICE, NODE)
    await dashboard["xep_0060"].subscribe(SERVICE, NODE)
    for value in VALUES:
        reading = ET.fromstring(f"<reading xmlns='urn:example:reading' value='{value}'/>")
        await sensor["xep_0060"].publish(SERVICE, NODE, payload=reading)
    for _ in VALUES:
        message = await asyncio.wait_for(seen.get(), 20)
        print(message["pubsub_event"]["items"]["item"]["payload"].attrib["value"])
    items = await dashboard["xep_0060"].get_items(SERVICE, NODE)
    assert len(items["pubsub"]["items"]["substanzas"]) == len(VALUES)
    await asyncio.gather(sensor.disconnect(), dashboard.disconnect())


asyncio.get_event_loop().run_until_complete(story())
