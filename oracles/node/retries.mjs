// The clients' own retries, against a server that lets a key in once a second and loads its second model when asked.

import OpenAI from 'openai';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText } from 'ai';
import { fails, key, model, noting, run, url } from './checks.mjs';

const isAnswered = (statuses, refusal) =>
  (statuses.includes(refusal) && statuses.at(-1) === 200 ? null : `the answers were ${statuses}`);

/** An official client and the statuses that it saw. */
function openai(maxRetries) {
  const statuses = [];
  return { statuses, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries, fetch: noting(statuses) }) };
}

async function tooMany() {
  const { client, statuses } = openai(3);
  await client.models.list();
  await client.models.list();
  return isAnswered(statuses, 429);
}

async function noRetries() {
  const { client } = openai(0);
  const twice = async () => { await client.models.list(); await client.models.list(); };
  return fails(twice, (error) => error instanceof OpenAI.RateLimitError && error.headers.get('retry-after') > 0);
}

async function loading() {
  const { client, statuses } = openai(8);
  await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi.' }], max_tokens: 1 });
  return isAnswered(statuses, 503);
}

async function vercel() {
  const statuses = [];
  const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: key, fetch: noting(statuses) });
  const ask = () => generateText({ model: provider.chat(model), prompt: 'Hi.', maxOutputTokens: 1, maxRetries: 4 });
  await ask();
  await ask();
  return isAnswered(statuses, 429);
}

await run({ 'too many requests': tooMany, 'without retries': noRetries, 'a model that is being loaded': loading, 'Vercel ai': vercel });
