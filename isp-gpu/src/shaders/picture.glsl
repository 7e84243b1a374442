// Pixels of a picture: LAYERED, a pixel of each quad is a layer; else a plain texture.

#if LAYERED
uniform highp sampler2DArray picture;

vec3 pixel(ivec2 at) {
    return texelFetch(picture, ivec3(at >> 1, (at.x & 1) + (at.y & 1) * 2), 0).rgb;
}
#else
uniform highp sampler2D picture;

vec3 pixel(ivec2 at) {
    return texelFetch(picture, at, 0).rgb;
}
#endif
