// Increments a key through a leader's death: node client.js PORT_OF_LEADER PORT...

const assert = require("node:assert");
const net = require("node:net");
const { Cluster } = require("ioredis");

const [leader, ...ports] = process.argv.slice(2).map(Number);
const nodes = ports.map((port) => ({ host: "127.0.0.1", port }));
const client = new Cluster(nodes);
client.on("error", () => {});

const isDead = () =>
  new Promise((resolve) => {
    const socket = net.connect(leader, "127.0.0.1");
    socket.on("connect", () => (socket.destroy(), resolve(false)));
    socket.on("error", () => resolve(true));
  });

let acknowledged = 0;
const deadline = Date.now() + 120_000;

async function add() {
  try {
    await client.incr("n");
    acknowledged += 1;
  } catch (error) {
    console.error(error.message);
    if (Date.now() > deadline) throw error;
  }
}

async function main() {
  await client.mset("{tag}a", 1, "{tag}b", 2);
  assert.deepEqual(await client.mget("{tag}a", "{tag}b"), ["1", "2"]);
  assert.deepEqual(await client.multi().set("{tag}a", 5).incr("{tag}a").exec(), [[null, "OK"], [null, 6]]);
  assert.deepEqual(await client.pipeline().set("k", 1).get("k").exec(), [[null, "OK"], [null, "1"]]);
  const replicas = new Cluster(nodes, { scaleReads: "slave" });
  for (let number = 0; number < 10; number++) {
    await client.set("seen", number);
    assert.equal(await replicas.get("seen"), String(number));
  }
  replicas.disconnect();

  while (acknowledged < 100) await add();
  console.log("begun");
  while (!(await isDead())) await add();
  const wanted = acknowledged + 100;
  while (acknowledged < wanted) await add();
  console.log(String(acknowledged));
  client.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
