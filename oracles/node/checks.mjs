// What the scripts beside this one share: the server they ask, which the environment names, what they ask it, and how
// they tell `../node_clients.py` what is wrong: a line of JSON for each check.

export const url = process.env.BALLAST_URL;
export const key = process.env.BALLAST_KEY;
/** Names of a model that generates and, where there is one, of a model that embeds. */
export const model = process.env.BALLAST_MODEL;
export const encoder = process.env.BALLAST_ENCODER_MODEL;

export const QUESTION = 'Say in one sentence what a lighthouse is for.';
export const ENDLESS = 'Count upwards from one, in words, and do not stop.';
export const N_TOKENS = 24;
// Far more than is read before leaving, so that only the lost connection can end the work in time.
export const N_TOKENS_LONG = 1500;
const [START_MS, STOP_MS] = [30_000, 2000];

export const TOOL_NAME = 'get_weather';
export const TOOL_DESCRIPTION = 'Tells the weather at a place.';
export const TOOL_QUESTION = 'How is the weather in Paris?';
export const TOOL_ANSWER = 'Sunny, 21 degrees.';
export const TOOL_SCHEMA = {
  type: 'object',
  properties: { place: { type: 'string', maxLength: 20 }, unit: { enum: ['celsius', 'fahrenheit'] } },
  required: ['place', 'unit'],
  additionalProperties: false,
};
export const LIGHT_SCHEMA = {
  type: 'object',
  properties: { colour: { enum: ['red', 'green'] }, seconds: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['colour', 'seconds'],
  additionalProperties: false,
};

/** What is wrong with a call of the tool, or nothing. */
export function toolFault(name, { place, unit, ...more }) {
  const isWell = name === TOOL_NAME && typeof place === 'string' && place.length <= 20
    && ['celsius', 'fahrenheit'].includes(unit) && Object.keys(more).length === 0;
  return isWell ? null : `the call ${name} with ${JSON.stringify({ place, unit, ...more })}`;
}

/** What is wrong with an object that should keep to `LIGHT_SCHEMA`, or nothing. */
export function lightFault({ colour, seconds, ...more }) {
  const isWell = ['red', 'green'].includes(colour) && Number.isInteger(seconds) && seconds >= 0 && seconds <= 99
    && Object.keys(more).length === 0;
  return isWell ? null : `the object ${JSON.stringify({ colour, seconds, ...more })}`;
}

/** What is wrong where two texts, or their JSON, should be the same. */
export function differs(expected, got) {
  const [a, b] = [JSON.stringify(expected), JSON.stringify(got)];
  return a === b ? null : `expected ${a}, got ${b}`;
}

/** What is wrong unless `ask` fails with an error for which `holds` holds. */
export async function fails(ask, holds) {
  try {
    await ask();
  } catch (error) {
    return holds(error) ? null : `failed with ${error.name}: ${error.message}`;
  }
  return 'expected an error, got an answer';
}

async function nActive() {
  const answer = await fetch(`${url}/health`, { headers: { authorization: `Bearer ${key}` } });
  return (await answer.json()).active_sequences;
}

async function comesToHold(condition, patienceMs) {
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

export const isAtWork = () => comesToHold(async () => await nActive() > 0, START_MS);

/** What is wrong if the server goes on with work that nobody waits for. */
export async function stillAtWork() {
  const isOver = await comesToHold(async () => await nActive() === 0, STOP_MS);
  return isOver ? null : `still at work ${STOP_MS} ms after leaving`;
}

/** A `fetch` that notes the status of every answer in `statuses`. */
export function noting(statuses) {
  return async (...request) => {
    const answer = await fetch(...request);
    statuses.push(answer.status);
    return answer;
  };
}

/** Runs checks by name; each returns what is wrong, or nothing. */
export async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    let fault;
    try {
      fault = await check();
    } catch (error) {
      fault = `${error.name}: ${error.message}`;
    }
    console.log(JSON.stringify({ name, fault: fault ?? null }));
  }
}
