// Classify images with a model file of tl-export, using onnxruntime's C API, and libpng for the golden samples.
//
// docs/model-file.md is the specification. The file is a program: run only model files that you trust.
//
//     cc -O2 -o classify classify.c $(pkg-config --cflags --libs libonnxruntime libpng)     (libonnxruntime-dev, libpng-dev)
//     djpeg photo.jpg | ./classify MODEL.onnx -
//     ./classify MODEL.onnx IMAGE.ppm...
//
// Takes binary PPM of 8 bits (P6, 255): whatever makes it has to follow the decoding rules, such as the EXIF orientation.
// Prints a JSON object per image. Exit code 0; 1 if the model is refused; 2 for wrong usage; 3 if an image could not be read.

#include <math.h>
#include <onnxruntime_c_api.h>
#include <png.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint8_t *pixels;  // [height, width, 3], RGB
  int64_t width, height;
} Image;

typedef struct {
  OrtSession *session;
  char *spec, *golden;  // JSON
  const char **labels;  // each as it stands in the JSON, quotes included
  int *label_lengths;
  size_t classes;
  int is_familiar;  // has the output `familiarity`
  double abstain_below, unfamiliar_below;  // NaN: never
} Model;

static const OrtApi *ort;
static OrtAllocator *allocator;

static void fail(const char *where, const char *what) {
  fprintf(stderr, "%s: %.*s\n", where, (int)strcspn(what, "\n"), what);
  exit(1);
}

static void check(const char *where, OrtStatus *status) {
  if (status != NULL) fail(where, ort->GetErrorMessage(status));
}

static void *take(size_t bytes) {
  void *memory = malloc(bytes ? bytes : 1);
  if (memory == NULL) fail("memory", "there is not enough");
  return memory;
}

// ---- JSON: enough of it for what tl-export writes, which is sound JSON

static const char *space(const char *at) { return at + strspn(at, " \t\r\n"); }

// The end of the value that begins here.
static const char *past(const char *at) {
  int depth = 0;
  do {
    at = space(at);
    if (*at == '"') {
      for (at++; *at && *at != '"'; at++) at += *at == '\\' && at[1];
      at += *at == '"';
    } else if (*at && strchr("[{", *at)) {
      depth++, at++;
    } else if (*at && strchr("]},:", *at)) {
      depth -= *at == ']' || *at == '}', at++;
    } else {
      at += strcspn(at, "]},: \t\r\n");
    }
  } while (depth > 0 && *at);
  return at;
}

// The first element of a list, or key of an object; the next one behind a value. NULL at the end.
static const char *first(const char *list) {
  list = space(list);
  list = *list ? space(list + 1) : list;
  return *list == ']' || *list == '}' || !*list ? NULL : list;
}

static const char *next(const char *element) {
  element = space(past(element));
  return *element == ',' ? space(element + 1) : NULL;
}

// The value of a key; NULL if the object has none.
static const char *member(const char *object, const char *key) {
  if (object == NULL || *space(object) != '{') return NULL;
  for (const char *at = first(object); at != NULL;) {
    const char *value = space(past(at));
    if (*value != ':') return NULL;
    value = space(value + 1);
    if (strncmp(at + 1, key, strlen(key)) == 0 && at[1 + strlen(key)] == '"') return value;
    at = next(value);
  }
  return NULL;
}

static double number(const char *value) {
  if (value == NULL || strncmp(value, "null", 4) == 0) return NAN;
  return strtod(value, NULL);
}

// ---- the model

static char *metadata(const char *path, OrtModelMetadata *all, const char *key) {
  char *value = NULL;
  check(path, ort->ModelMetadataLookupCustomMetadataMap(all, allocator, key, &value));
  return value;
}

static char *parsed(const char *path, OrtModelMetadata *all, const char *key) {
  char *document = metadata(path, all, key);
  double version = number(member(document, "version"));
  char what[80];
  if (version != 1 && version != 2) {  // NaN is neither
    snprintf(what, sizeof what, "%s: version %g, expected 1 or 2", key, version);
    fail(path, what);
  }
  return document;
}

static Model open_model(const char *path) {
  Model model = {0};
  OrtEnv *environment;
  OrtSessionOptions *options;
  OrtModelMetadata *all;
  check(path, ort->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "classify", &environment));
  check(path, ort->DisableTelemetryEvents(environment));  // those before it: ORT_DISABLE_TELEMETRY=1 in the environment
  check(path, ort->CreateSessionOptions(&options));
  check(path, ort->CreateSession(environment, path, options, &model.session));
  check(path, ort->GetAllocatorWithDefaultOptions(&allocator));
  check(path, ort->SessionGetModelMetadata(model.session, &all));
  if (metadata(path, all, "tl.bit_depth") != NULL) fail(path, "tl.bit_depth: this caller does not scale 16-bit images by it");
  model.spec = parsed(path, all, "tl.spec");
  model.golden = parsed(path, all, "tl.golden");
  const char *labels = member(model.spec, "labels");
  for (const char *at = labels ? first(labels) : NULL; at != NULL; at = next(at)) model.classes++;
  if (model.classes == 0) fail(path, "tl.spec: no labels");
  model.labels = take(model.classes * sizeof *model.labels);
  model.label_lengths = take(model.classes * sizeof *model.label_lengths);
  size_t index = 0;
  for (const char *at = first(labels); at != NULL; at = next(at), index++) {
    model.labels[index] = at;
    model.label_lengths[index] = (int)(past(at) - at);
  }
  const char *familiarity = member(model.spec, "familiarity");
  model.is_familiar = familiarity != NULL;
  model.abstain_below = number(member(model.spec, "abstain_below"));
  model.unfamiliar_below = number(member(familiarity, "unfamiliar_below"));
  return model;
}

// Fills in a probability for each class; returns the familiarity, NaN if the model has none.
static float run(const char *path, const Model *model, Image image, float *probabilities) {
  const char *inputs[] = {"image"}, *outputs[] = {"probabilities", "familiarity"};
  int64_t shape[] = {1, image.height, image.width, 3};
  OrtMemoryInfo *memory;
  OrtValue *input, *found[2] = {NULL, NULL};
  float *values, familiarity = NAN;
  check(path, ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  check(path, ort->CreateTensorWithDataAsOrtValue(memory, image.pixels, (size_t)(image.height * image.width * 3), shape, 4,
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input));
  check(path, ort->Run(model->session, NULL, inputs, (const OrtValue *const *)&input, 1, outputs,
                       model->is_familiar ? 2 : 1, found));
  check(path, ort->GetTensorMutableData(found[0], (void **)&values));
  memcpy(probabilities, values, model->classes * sizeof *values);  // [1, classes], as the file declares
  if (model->is_familiar) {
    check(path, ort->GetTensorMutableData(found[1], (void **)&values));
    familiarity = values[0];
    ort->ReleaseValue(found[1]);
  }
  ort->ReleaseValue(found[0]);
  ort->ReleaseValue(input);
  ort->ReleaseMemoryInfo(memory);
  return familiarity;
}

// ---- the golden samples

// Bytes of base64 up to the quote; sets their number.
static uint8_t *from_base64(const char *text, size_t *size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint8_t *bytes = take(strcspn(text, "\""));
  uint32_t bits = 0;
  int held = 0;
  *size = 0;
  for (const char *digit; *text && (digit = strchr(digits, *text)) != NULL; text++) {
    bits = bits << 6 | (uint32_t)(digit - digits);
    if ((held += 6) >= 8) bytes[(*size)++] = (uint8_t)(bits >> (held -= 8));
  }
  return bytes;
}

static Image from_png(const char *path, const char *text) {
  png_image png = {.version = PNG_IMAGE_VERSION};
  size_t size;
  uint8_t *bytes = from_base64(text, &size);
  if (!png_image_begin_read_from_memory(&png, bytes, size)) fail(path, png.message);
  png.format = PNG_FORMAT_RGB;  // which the samples have, so nothing is converted
  Image image = {take(PNG_IMAGE_SIZE(png)), png.width, png.height};
  if (!png_image_finish_read(&png, NULL, image.pixels, 0, NULL)) fail(path, png.message);
  free(bytes);
  return image;
}

static void expect(const char *path, const char *name, double difference, double tolerance) {
  char what[300];
  if (difference <= tolerance) return;  // so written, NaN is refused too
  snprintf(what, sizeof what, "golden sample '%.*s' differs by %.2g, tolerance %g", (int)(past(name) - name) - 2, name + 1,
           difference, tolerance);
  fail(path, what);
}

// That this machine computes what it should.
static void check_golden(const char *path, const Model *model) {
  float *found = take(model->classes * sizeof *found);
  const char *samples = member(model->golden, "samples");
  for (const char *sample = samples ? first(samples) : NULL; sample != NULL; sample = next(sample)) {
    const char *name = member(sample, "name"), *png = member(sample, "png"), *at = member(sample, "probabilities");
    if (name == NULL || png == NULL || at == NULL) fail(path, "tl.golden: a sample is not whole");
    Image image = from_png(path, png + 1);
    float familiarity = run(path, model, image, found);
    double worst = 0;
    at = first(at);
    for (size_t index = 0; index < model->classes; index++, at = at ? next(at) : NULL) {
      double difference = fabs(number(at) - found[index]);
      if (!(difference <= worst)) worst = difference;
    }
    expect(path, name, worst, number(member(model->golden, "tolerance")));
    if (model->is_familiar) {
      double difference = fabs(number(member(sample, "familiarity")) - familiarity);
      expect(path, name, difference, number(member(model->golden, "familiarity_tolerance")));
    }
    free(image.pixels);
  }
  free(found);
}

// ---- images

static int64_t header_number(FILE *file) {
  int64_t value = 0;
  int digits = 0, byte;
  while ((byte = fgetc(file)) == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '#') {
    while (byte == '#' && (byte = fgetc(file)) != '\n' && byte != EOF) byte = '#';
  }
  for (; byte >= '0' && byte <= '9' && digits < 9; byte = fgetc(file), digits++) value = value * 10 + (byte - '0');
  return digits ? value : -1;  // one byte behind the number is read, too
}

// Why it could not be read; NULL if it was.
static const char *read_ppm(FILE *file, Image *image) {
  if (fgetc(file) != 'P' || fgetc(file) != '6') return "not a binary PPM (P6)";
  image->width = header_number(file);
  image->height = header_number(file);
  if (image->width < 1 || image->height < 1 || image->width * image->height > 50000000) return "no size up to 50 megapixels";
  if (header_number(file) != 255) return "not of 8 bits: expected 255 as the highest value";
  size_t size = (size_t)(image->width * image->height * 3);
  image->pixels = take(size);
  if (fread(image->pixels, 1, size, file) == size) return NULL;
  free(image->pixels);
  return "it is truncated: pixels are missing";
}

static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text < 32) printf("\\u%04x", *text);
    else putchar(*text);
  }
  putchar('"');
}

static void print_answer(const Model *model, const float *probabilities, float familiarity) {
  size_t best = 0;
  for (size_t index = 1; index < model->classes; index++) {
    if (probabilities[index] > probabilities[best]) best = index;
  }
  const char *reason = NULL;
  if (probabilities[best] < model->abstain_below) reason = "\"unsure\"";  // never if that is NaN
  if (familiarity < model->unfamiliar_below) reason = "\"unfamiliar\"";
  printf(", \"label\": %.*s", reason ? 4 : model->label_lengths[best], reason ? "null" : model->labels[best]);
  printf(", \"reason\": %s, \"familiarity\": ", reason ? reason : "null");
  if (model->is_familiar) printf("%.9g", familiarity);
  else printf("null");
  printf(", \"probability\": %.9g, \"probabilities\": {", probabilities[best]);
  for (size_t index = 0; index < model->classes; index++) {
    printf("%s%.*s: %.9g", index ? ", " : "", model->label_lengths[index], model->labels[index], probabilities[index]);
  }
  printf("}");
}

int main(int count, char **arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: classify MODEL.onnx IMAGE.ppm... (- for standard input)\n");
    return 2;
  }
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == NULL) fail(arguments[1], "the library of onnxruntime is older than the header it was built with");
  Model model = open_model(arguments[1]);
  check_golden(arguments[1], &model);
  float *probabilities = take(model.classes * sizeof *probabilities);
  int failed = 0;
  for (int index = 2; index < count; index++) {
    Image image;
    int is_stdin = strcmp(arguments[index], "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(arguments[index], "rb");
    const char *problem = file == NULL ? "cannot be opened" : read_ppm(file, &image);
    if (file != NULL && !is_stdin) fclose(file);
    printf("{\"path\": ");
    print_text(arguments[index]);
    if (problem == NULL) {
      float familiarity = run(arguments[1], &model, image, probabilities);
      print_answer(&model, probabilities, familiarity);
      free(image.pixels);
    } else {
      printf(", \"error\": \"%s\"", problem);
      failed = 1;
    }
    printf("}\n");
  }
  return failed ? 3 : 0;
}
