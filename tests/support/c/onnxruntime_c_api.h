// What examples/callers/classify.c uses of onnxruntime's C API, for machines on which no package has the header.
//
// The table of functions is only ever appended to, so a function is at the same place in every version; `skip` counts
// those that are not used.

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 16

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtEnv OrtEnv;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtModelMetadata OrtModelMetadata;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;

enum { ORT_LOGGING_LEVEL_FATAL = 4 };
enum { OrtDeviceAllocator = 0 };
enum { OrtMemTypeDefault = 0 };
enum { ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2 };

typedef struct {
  void *skip_0[2];
  const char *(*GetErrorMessage)(const OrtStatus *);  // 2
  OrtStatus *(*CreateEnv)(int level, const char *name, OrtEnv **);
  void *skip_4[2];
  OrtStatus *(*DisableTelemetryEvents)(const OrtEnv *);  // 6
  OrtStatus *(*CreateSession)(const OrtEnv *, const char *path, const OrtSessionOptions *, OrtSession **);
  void *skip_8[1];
  OrtStatus *(*Run)(OrtSession *, const void *options, const char *const *inputs, const OrtValue *const *, size_t,
                    const char *const *outputs, size_t, OrtValue **);  // 9
  OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **);
  void *skip_11[38];
  OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *data, size_t bytes, const int64_t *shape,
                                               size_t dimensions, int type, OrtValue **);  // 49
  void *skip_50[1];
  OrtStatus *(*GetTensorMutableData)(OrtValue *, void **);  // 51
  void *skip_52[17];
  OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int kind, OrtMemoryInfo **);  // 69
  void *skip_70[8];
  OrtStatus *(*GetAllocatorWithDefaultOptions)(OrtAllocator **);  // 78
  void *skip_79[15];
  void (*ReleaseMemoryInfo)(OrtMemoryInfo *);  // 94
  void *skip_95[1];
  void (*ReleaseValue)(OrtValue *);  // 96
  void *skip_97[14];
  OrtStatus *(*SessionGetModelMetadata)(const OrtSession *, OrtModelMetadata **);  // 111
  void *skip_112[4];
  OrtStatus *(*ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata *, OrtAllocator *, const char *key,
                                                     char **);  // 116
} OrtApi;

typedef struct {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;

const OrtApiBase *OrtGetApiBase(void);
