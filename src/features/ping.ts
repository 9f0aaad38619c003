import { defineFeature, type Feature, type Route } from './feature.js';

const NS_PING = 'urn:xmpp:ping';
const PING: Route = `iq:get:${NS_PING}:ping`;

/** Answered for everybody whom the server speaks for (XEP-0199 §4.2). */
export function ping(): Feature {
  const pong = { [PING]: () => undefined };
  return defineFeature({
    spec: 'XEP-0199',
    title: 'XMPP Ping',
    version: '2.0.1',
    disco: { server: [NS_PING], account: [NS_PING], pubsub: [NS_PING] },
    routes: { server: pong, account: pong, pubsub: pong },
  });
}
