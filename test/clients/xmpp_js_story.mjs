// A sensor and a dashboard with @xmpp/client: prints what the dashboard is notified of, then ends.
import { client, xml } from '@xmpp/client';
import WebSocket from 'ws';

// Node 20 has none of its own.
globalThis.WebSocket ??= WebSocket;
const { CHAPTER, SERVICE, PASSWORD, NODE_NAME: node } = process.env;
const values = process.env.VALUES.split(',');
const pubsub = 'pubsub.localhost';
const request = (child) => xml('pubsub', { xmlns: 'http://jabber.org/protocol/pubsub' }, child);

async function login(username) {
  const xmpp = client({ service: SERVICE, domain: 'localhost', username, password: PASSWORD });
  xmpp.on('error', (error) => CHAPTER !== 'publish' || console.error(error));
  await xmpp.start();
  // The library counts wrongly what comes in one piece with <enabled/>: nothing is asked for before.
  while (!xmpp.streamManagement.enabled) await new Promise((resolve) => setImmediate(resolve));
  return xmpp;
}

async function publish(sensor, dashboard) {
  const all = new Promise((resolve) => {
    let seen = 0;
    dashboard.on('stanza', (stanza) => {
      const items = stanza.getChild('event')?.getChild('items');
      const reading = items?.getChild('item')?.getChild('reading');
      // Nodes of earlier stories send their last item when the dashboard comes online.
      if (!reading || items.attrs.node !== node) return;
      console.log(reading.attrs.value);
      if (++seen === values.length) resolve();
    });
  });
  await sensor.iqCaller.set(request(xml('create', { node })), pubsub);
  await dashboard.iqCaller.set(request(xml('subscribe', { node, jid: dashboard.jid.bare().toString() })), pubsub);
  for (const value of values) {
    const item = xml('item', {}, xml('reading', { xmlns: 'urn:example:reading', value }));
    await sensor.iqCaller.set(request(xml('publish', { node }, item)), pubsub);
  }
  await all;
  const answer = await dashboard.iqCaller.get(request(xml('items', { node })), pubsub);
  console.log(`read back ${answer.getChildren('item').length || answer.getChild('items').getChildren('item').length}`);
}

async function resume(sensor, dashboard) {
  let seen = 0;
  const came = (count) =>
    new Promise((resolve) => {
      dashboard.on('stanza', () => seen === count && resolve());
    });
  dashboard.on('stanza', (stanza) => {
    const body = stanza.is('message') && stanza.getChildText('body');
    if (!body) return;
    console.log(body);
    seen++;
  });
  const half = came(20);
  const all = came(40);
  const resumed = new Promise((resolve) => dashboard.streamManagement.on('resumed', resolve));
  const to = dashboard.jid.toString();
  const send = (n) => sensor.send(xml('message', { to, type: 'chat' }, xml('body', {}, String(n))));
  for (let n = 0; n < 20; n++) await send(n);
  await half;
  // The library does not count the answers that it gets, so the last stanzas come again: let that be this answer.
  await dashboard.iqCaller.get(xml('ping', { xmlns: 'urn:xmpp:ping' }), 'localhost');
  if (CHAPTER === 'worker') {
    // A session's identifier begins with the number of its worker; workers are numbered as they are listed, from 1.
    process.kill(process.env.WORKERS.split(',')[parseInt(dashboard.streamManagement.id, 36) - 1], 'SIGTERM');
    await new Promise((resolve) => dashboard.once('disconnect', resolve));
  }
  // The library wraps the socket; the cable is pulled below it.
  else (dashboard.socket.socket ?? dashboard.socket).destroy();
  for (let n = 20; n < 40; n++) await send(n);
  await Promise.all([all, resumed]);
  console.log('resumed');
}

const sensor = await login('sensor');
let dashboard = await login('dashboard');
if (CHAPTER === 'worker') {
  const worker = ({ streamManagement }) => parseInt(streamManagement.id, 36);
  while (worker(dashboard) === worker(sensor)) {
    await dashboard.stop();
    dashboard = await login('dashboard');
  }
}
await dashboard.send(xml('presence'));
await (CHAPTER === 'publish' ? publish : resume)(sensor, dashboard);
await Promise.all([sensor.stop(), dashboard.stop()]);
process.exit(0);
