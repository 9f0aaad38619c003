import { PUBSUB_DISCO } from '../pubsub/xml/features.js';
import { NS_DATA } from '../xml/dataform.js';
import { NS_RSM } from '../xml/rsm.js';
import { defineFeature, type Feature } from './feature.js';

/** What other rooms implement, so that service discovery and the documents are complete. */
export const DECLARATIONS: readonly Feature[] = [
  {
    spec: 'RFC 6121',
    title: 'XMPP: Instant Messaging and Presence',
    version: '2011-03',
    note: 'routing to connected resources, initial and directed presence; no roster, subscriptions or offline messages',
  },
  { spec: 'RFC 7622', title: 'XMPP: Address Format', version: '2015-09' },
  { spec: 'RFC 7395', title: 'XMPP Subprotocol for WebSocket', version: '2014-10' },
  { spec: 'RFC 7590', title: 'Use of TLS in XMPP', version: '2015-06' },
  {
    spec: 'RFC 7677',
    title: 'SCRAM-SHA-256 and SCRAM-SHA-256-PLUS',
    version: '2015-11',
    note: 'and SCRAM-SHA-1 (RFC 5802)',
  },
  {
    spec: 'RFC 9266',
    title: 'Channel Bindings for TLS 1.3',
    version: '2022-07',
    note: 'and tls-server-end-point (RFC 5929)',
  },
  {
    spec: 'XEP-0004',
    title: 'Data Forms',
    version: '2.13.2',
    disco: { pubsub: [NS_DATA] },
  },
  { spec: 'XEP-0059', title: 'Result Set Management', version: '1.0', disco: { pubsub: [NS_RSM] } },
  {
    spec: 'XEP-0060',
    title: 'Publish-Subscribe',
    version: '1.30.0',
    note: 'leaf nodes; access models open, whitelist and authorize; no collections, no filtered notifications',
    disco: { pubsub: PUBSUB_DISCO },
  },
  { spec: 'XEP-0068', title: 'Field Standardization for Data Forms', version: '1.3.0' },
  { spec: 'XEP-0082', title: 'XMPP Date and Time Profiles', version: '1.1.1' },
  { spec: 'XEP-0128', title: 'Service Discovery Extensions', version: '1.0.1' },
  {
    spec: 'XEP-0156',
    title: 'Discovering Alternative XMPP Connection Methods',
    version: '1.4.0',
    note: 'host-meta for WebSocket',
  },
  {
    spec: 'XEP-0178',
    title: 'Best Practices for Use of SASL EXTERNAL with Certificates',
    version: '1.2',
    note: 'clients',
  },
  {
    spec: 'XEP-0203',
    title: 'Delayed Delivery',
    version: '2.0',
    note: 'of last and missed items, and of messages that find another way',
  },
  { spec: 'XEP-0368', title: 'SRV Records for XMPP over TLS', version: '1.1.0', note: 'clients' },
  { spec: 'XEP-0440', title: 'SASL Channel-Binding Type Capability', version: '1.0.0' },
].map((feature) => defineFeature(feature));
