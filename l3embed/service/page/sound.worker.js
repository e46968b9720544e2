/** The overview of a sound off the main thread. In: samples, or a WAV file with its header. Out: progress, the overview. */

import { overview } from "./overview.js";
import { wavSamples } from "./wav.js";

onmessage = async ({ data: { samples, rate, file, header } }) => {
  const sound = file
    ? { rate: header.rate, length: header.frames, read: (from, to) => wavSamples(file, header, from, to) }
    : { rate, length: samples.length, read: async (from, to) => samples.subarray(from, to) };
  try {
    let said = 0;
    const picture = await overview(sound, (share) => {
      if (share - said >= 0.05) postMessage({ share: (said = share) });
    });
    postMessage({ picture }, [picture.extremes.buffer, picture.levels.buffer]);
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
