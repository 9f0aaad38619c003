/** The story that every client library tells in its own words: a sensor publishes to a node, a dashboard that subscribed sees it. */
export const NODE = 'kitchen/temperature';
export const READING_NS = 'urn:example:reading';
export const VALUES = ['20.5', '21.0', '21.5'];
