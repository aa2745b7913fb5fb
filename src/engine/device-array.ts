// Arrays of float32 in the memory of the GPU, for the kernels that work on them.
import { ZazenError } from "../errors.js";
import { type NativeDeviceArray, onCuda } from "./cuda.js";
import { checkNumber, fail } from "./validate.js";

const MOST_ELEMENTS = 2 ** 31 - 1;

/**
 * `length` float32 in device memory, zeros at first. The memory is freed by `dispose()` or `using`; the garbage collector is the
 * backstop. A disposed array refuses every use but another `dispose()`.
 */
export class DeviceArray implements Disposable {
  readonly length: number;
  #native: NativeDeviceArray | undefined;

  /** @throws InputError BAD_ARGUMENT; ZazenError CUDA_ADDON_MISSING, CUDA, OUT_OF_MEMORY */
  constructor(length: number) {
    checkNumber("DeviceArray length", length, 0, MOST_ELEMENTS, true);
    this.length = length;
    this.#native = onCuda(({ DeviceArray: Native }) => new Native(length));
  }

  /** A copy of an array. */
  static from(values: Float32Array): DeviceArray {
    if (!(values instanceof Float32Array)) fail("BAD_ARGUMENT", "DeviceArray.from", "a Float32Array", typeof values);
    const array = new DeviceArray(values.length);
    array.write(values);
    return array;
  }

  /** Replaces all elements. */
  write(values: Float32Array): void {
    if (!(values instanceof Float32Array)) fail("BAD_ARGUMENT", "DeviceArray.write", "a Float32Array", typeof values);
    if (values.length !== this.length)
      fail("BAD_ARGUMENT", "DeviceArray.write", `${this.length} elements`, values.length);
    onCuda(() => this.native().write(values));
  }

  /** All elements, copied. */
  read(): Float32Array {
    const values = new Float32Array(this.length);
    onCuda(() => this.native().read(values));
    return values;
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What the addon takes. */
  native(): NativeDeviceArray {
    if (!this.#native)
      throw new ZazenError(
        "DEVICE_ARRAY_DISPOSED",
        "[DeviceArray] expected an array that is alive, got a disposed one",
      );
    return this.#native;
  }
}

/** The native array of an argument; `length` elements when given. */
export function deviceFloats(where: string, array: unknown, length?: number): NativeDeviceArray {
  if (!(array instanceof DeviceArray)) fail("BAD_ARGUMENT", where, "a DeviceArray", typeof array);
  if (length !== undefined && array.length !== length) fail("BAD_ARGUMENT", where, `${length} elements`, array.length);
  return array.native();
}
