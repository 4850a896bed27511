// OpenAI's client for Node against `ballast serve`.

import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import {
  ENDLESS, LIGHT_SCHEMA, N_TOKENS, N_TOKENS_LONG, QUESTION, TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION,
  TOOL_SCHEMA, differs, encoder, fails, isAtWork, key, lightFault, model, run, stillAtWork, toolFault, url,
} from './checks.mjs';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const chat = { model, messages: [{ role: 'user', content: QUESTION }], max_tokens: N_TOKENS, temperature: 0 };
const endless = { ...chat, messages: [{ role: 'user', content: ENDLESS }], max_tokens: N_TOKENS_LONG, ignore_eos: true };

async function chats() {
  const answer = await client.chat.completions.create(chat);
  const { message, finish_reason: reason } = answer.choices[0];
  if (!message.content || !['stop', 'length'].includes(reason)) return JSON.stringify(answer);
  const { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total } = answer.usage;
  return differs(prompt + completion, total);
}

async function streams() {
  const whole = await client.chat.completions.create(chat);
  const stream = await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } });
  const [pieces, reasons, usages] = [[], [], []];
  for await (const chunk of stream) {
    if (chunk.usage) usages.push(chunk.usage);
    for (const { delta, finish_reason: reason } of chunk.choices) {
      if (delta.content) pieces.push(delta.content);
      if (reason) reasons.push(reason);
    }
  }
  if (pieces.length < 2) return `${pieces.length} pieces of text`;
  const { message, finish_reason: reason } = whole.choices[0];
  const totals = usages.map((usage) => usage.total_tokens);
  return differs([message.content, [reason], [whole.usage.total_tokens]], [pieces.join(''), reasons, totals]);
}

// The client's own helper puts the chunks together.
async function streamsByHelper() {
  const whole = await client.chat.completions.create(chat);
  let heard = '';
  const stream = client.chat.completions.stream(chat).on('content', (delta) => { heard += delta; });
  const { message } = (await stream.finalChatCompletion()).choices[0];
  const text = whole.choices[0].message.content;
  return differs([text, text], [message.content, heard]);
}

const tool = { type: 'function', function: { name: TOOL_NAME, description: TOOL_DESCRIPTION, parameters: TOOL_SCHEMA } };
const named = { type: 'function', function: { name: TOOL_NAME } };
const withTools = {
  ...chat, messages: [{ role: 'user', content: TOOL_QUESTION }], tools: [tool], max_tokens: 300, parallel_tool_calls: false,
};

async function callsTools() {
  for (const choice of ['required', named]) {
    const ask = { ...withTools, tool_choice: choice };
    const { message, finish_reason: reason } = (await client.chat.completions.create(ask)).choices[0];
    const call = message.tool_calls[0];
    const fault = toolFault(call.function.name, JSON.parse(call.function.arguments)) ?? differs('tool_calls', reason);
    if (fault) return fault;
    const streamed = (await client.chat.completions.stream(ask).finalChatCompletion()).choices[0].message.tool_calls;
    const told = (calls) => calls.map((one) => [one.function.name, one.function.arguments]);
    const difference = differs(told(message.tool_calls), told(streamed));
    if (difference) return difference;
    const answered = { role: 'tool', tool_call_id: call.id, content: TOOL_ANSWER };
    const back = await client.chat.completions.create({
      ...ask, tool_choice: 'none', messages: [...ask.messages, message, answered],
    });
    if (!back.choices[0].message.content) return `after the tool's answer ${JSON.stringify(back.choices[0])}`;
  }
  return null;
}

// The client's own loop calls the function itself.
async function runsTools() {
  const asked = [];
  const weather = {
    ...tool.function, parse: JSON.parse, function: (given) => { asked.push(given); return TOOL_ANSWER; },
  };
  const runner = client.chat.completions.runTools({
    ...withTools, tools: [{ type: 'function', function: weather }], tool_choice: named,
  });
  await runner.done();
  return asked.length === 1 ? toolFault(TOOL_NAME, asked[0]) : `the function was called ${asked.length} times`;
}

async function keepsToSchema() {
  const asked = { ...chat, messages: [{ role: 'user', content: 'Which light, and for how long?' }], max_tokens: 60 };
  const format = { type: 'json_schema', json_schema: { name: 'light', schema: LIGHT_SCHEMA, strict: true } };
  const plain = await client.chat.completions.create({ ...asked, response_format: format });
  const Light = z.object({ colour: z.enum(['red', 'green']), seconds: z.number().int().min(0).max(99) });
  const parsed = await client.chat.completions.parse({ ...asked, response_format: zodResponseFormat(Light, 'light') });
  return lightFault(JSON.parse(plain.choices[0].message.content)) ?? lightFault(parsed.choices[0].message.parsed);
}

async function embeds() {
  const ask = { model: encoder, input: ['A lighthouse.', 'A ship at sea.'] };
  const given = await client.embeddings.create(ask); // Base64 on the wire, floats for the caller.
  const floats = await client.embeddings.create({ ...ask, encoding_format: 'float' });
  const text = (await client.embeddings.create({ ...ask, encoding_format: 'base64' })).data[0].embedding;
  const bytes = Buffer.from(text, 'base64');
  const decoded = Array.from({ length: bytes.length / 4 }, (_, idx) => bytes.readFloatLE(4 * idx));
  const vectors = [given.data[0].embedding, floats.data[0].embedding.map(Math.fround), decoded].map((v) => v.join());
  if (new Set(vectors).size !== 1) return 'floats and base64 differ';
  const short = await client.embeddings.create({ ...ask, dimensions: 64 });
  return differs([2, 64], [given.data.length, short.data[0].embedding.length]);
}

const respond = { model, input: QUESTION, max_output_tokens: N_TOKENS, temperature: 0 };

async function responds() {
  const whole = await client.responses.create(respond);
  const events = [];
  for await (const event of await client.responses.create({ ...respond, stream: true })) events.push(event);
  const last = events.at(-1);
  const deltas = events.filter(({ type }) => type === 'response.output_text.delta').map(({ delta }) => delta);
  const numbers = events.map(({ sequence_number: number }) => number);
  const expected = [whole.output_text, `response.${whole.status}`, [...events.keys()]];
  return whole.output_text ? differs(expected, [deltas.join(''), last.type, numbers]) : `no text: ${whole.status}`;
}

async function respondsByHelper() {
  const whole = await client.responses.create(respond);
  const final = await client.responses.stream(respond).finalResponse();
  return differs(whole.output_text, final.output_text);
}

async function keepsResponses() {
  const first = await client.responses.create(respond);
  const kept = await client.responses.retrieve(first.id);
  const next = await client.responses.create({ ...respond, previous_response_id: first.id, input: 'Shorter, please.' });
  const items = await client.responses.inputItems.list(next.id, { order: 'asc' });
  const roles = items.data.map(({ role }) => role);
  await client.responses.delete(first.id);
  return differs([first.output_text, ['user', 'assistant', 'user']], [kept.output_text, roles])
    ?? await fails(() => client.responses.retrieve(first.id), (error) => error instanceof OpenAI.NotFoundError);
}

async function respondsInBackground() {
  let response = await client.responses.create({ ...respond, background: true });
  for (let polls = 0; ['queued', 'in_progress'].includes(response.status) && polls < 600; polls += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    response = await client.responses.retrieve(response.id);
  }
  const whole = await client.responses.create(respond);
  const fault = differs(whole.output_text, response.output_text);
  if (fault) return fault;
  const long = { ...respond, max_output_tokens: N_TOKENS_LONG, ignore_eos: true, background: true };
  const cancelled = await client.responses.cancel((await client.responses.create(long)).id);
  return differs('cancelled', cancelled.status) ?? stillAtWork();
}

async function timesOut() {
  const impatient = client.chat.completions.create(endless, { timeout: 300 });
  const byClient = await fails(() => impatient, (error) => error instanceof OpenAI.APIConnectionTimeoutError);
  const late = () => client.chat.completions.create({ ...endless, timeout: 0.3 });
  return byClient ?? await stillAtWork() ?? await fails(late, (error) => error.status === 504 && error.code);
}

async function aborts() {
  const controller = new AbortController();
  const whole = client.chat.completions.create(endless, { signal: controller.signal });
  const waiting = fails(() => whole, (error) => error instanceof OpenAI.APIUserAbortError);
  if (!await isAtWork()) return 'nothing was at work before the answer was aborted';
  controller.abort();
  const fault = await waiting ?? await stillAtWork();
  if (fault) return fault;
  const stream = await client.chat.completions.create({ ...endless, stream: true });
  let nChunks = 0;
  for await (const _ of stream) {
    nChunks += 1;
    if (nChunks === 5) stream.controller.abort();
  }
  return nChunks < N_TOKENS_LONG ? stillAtWork() : `${nChunks} chunks were read`;
}

async function tellsErrors() {
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'not-the-key', maxRetries: 0 });
  const wrong = () => client.chat.completions.create({ ...chat, temperature: -1 });
  return await fails(() => stranger.models.list(), (error) => error instanceof OpenAI.AuthenticationError)
    ?? await fails(() => client.chat.completions.create({ ...chat, model: 'other' }), (error) => error instanceof OpenAI.NotFoundError)
    ?? fails(wrong, (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature' && error.requestID);
}

await run({
  chat: chats,
  stream: streams,
  'stream by the helper': streamsByHelper,
  tools: callsTools,
  'tools by the helper': runsTools,
  'JSON schema': keepsToSchema,
  ...(encoder ? { embeddings: embeds } : {}),
  responses: responds,
  'responses by the helper': respondsByHelper,
  'responses that are kept': keepsResponses,
  'responses in the background': respondsInBackground,
  timeouts: timesOut,
  abort: aborts,
  errors: tellsErrors,
});
