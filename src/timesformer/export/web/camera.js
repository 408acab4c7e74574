// The camera: classifies its last seconds again and again, as fast as the model answers.

import { pixelsOf } from "./player.js";

export class Camera {
  /**
   * @param {{video: HTMLVideoElement, worker: Worker, nextJob: () => number, onFail: (message: string) => void}} parts
   */
  constructor({ video, worker, nextJob, onFail }) {
    Object.assign(this, { video, worker, nextJob, onFail });
    this.stream = null;
    this.seconds = 2;
    this.timer = 0;
    this.isBusy = false;
  }

  get isOn() {
    return this.stream !== null;
  }

  /** Ask for the camera; false if the user or the system refuses. */
  async start(sidecar, seconds) {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
    } catch (error) {
      this.onFail(`The camera cannot be used: ${error.message}`);
      return false;
    }
    Object.assign(this, { seconds, count: sidecar.sampling.num_frames, number: -1, isBusy: false });
    this.video.removeAttribute("src");
    this.video.srcObject = this.stream;
    await this.video.play();
    this.worker.postMessage({ type: "begin", job: this.nextJob() });
    this.tick();
    return true;
  }

  stop() {
    clearTimeout(this.timer);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  /** Called with each answer of the worker: the next clip may go. */
  answered() {
    this.isBusy = false;
  }

  /** Take one frame; send the clip that ends with it, unless the model is still busy with one. */
  tick() {
    if (!this.isOn) return;
    this.timer = setTimeout(() => this.tick(), (1000 * this.seconds) / this.count);
    if (this.video.videoWidth === 0) return;
    this.number += 1;
    const picture = pixelsOf(this.video);
    const oldest = this.number - 2 * this.count;
    this.worker.postMessage({ type: "picture", number: this.number, ...picture, oldest }, [picture.pixels.buffer]);
    if (this.number + 1 < this.count || this.isBusy) return;
    this.isBusy = true;
    const clip = Array.from({ length: this.count }, (_, i) => this.number - this.count + 1 + i);
    this.worker.postMessage({ type: "pictures", job: this.nextJob(), clips: [clip] });
  }
}
