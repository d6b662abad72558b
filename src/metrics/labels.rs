//! Label values of any type, as text and without an allocation.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str;

/// A label value.
///
/// Implemented for text, integers, `bool` and `char`, and for references to them. Implement it for the enums of a program,
/// so that they can be label values as they are; for other types there is [`Displayed`].
///
/// ```
/// use multiprom::labels::LabelValue;
/// use multiprom::{Counter, Family, Static};
///
/// enum Method {
///     Get,
///     Post,
/// }
///
/// impl LabelValue for Method {
///     type Buffer = ();
///
///     fn text<'a>(&'a self, _: &'a mut ()) -> &'a str {
///         match self {
///             Method::Get => "get",
///             Method::Post => "post",
///         }
///     }
/// }
///
/// static REQUESTS: Static<Family<Counter, 2>> =
///     Counter::declare("requests_total", "Requests.").labels(["method", "code"]);
///
/// REQUESTS.with((Method::Get, 200)).inc();
/// assert_eq!(REQUESTS.with(["get", "200"]).get(), 1.0);
/// # let _ = Method::Post;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a label value",
    note = "derive `LabelValue` for an enum; for a `Display` type use `Displayed`, or `#[label(display)]` in a label set"
)]
pub trait LabelValue {
    /// Where the text is written if the value does not have it: `()`, or a [`TextBuffer`].
    type Buffer: Default;

    /// The texts of all values, for types whose values can be listed; else empty.
    const ALL: &'static [&'static str] = &[];

    /// The value as text.
    fn text<'a>(&'a self, buffer: &'a mut Self::Buffer) -> &'a str;
}

macro_rules! impl_text {
    ($($type:ty),*) => {$(
        impl LabelValue for $type {
            type Buffer = ();

            #[inline]
            fn text<'a>(&'a self, (): &'a mut ()) -> &'a str {
                self
            }
        }
    )*};
}

impl_text!(str, String, Box<str>, Cow<'_, str>);

impl<T: LabelValue + ?Sized> LabelValue for &T {
    type Buffer = T::Buffer;

    const ALL: &'static [&'static str] = T::ALL;

    #[inline]
    fn text<'a>(&'a self, buffer: &'a mut T::Buffer) -> &'a str {
        (**self).text(buffer)
    }
}

/// `None` is the empty text, which is the same as a label that is missing.
impl<T: LabelValue> LabelValue for Option<T> {
    type Buffer = T::Buffer;

    #[inline]
    fn text<'a>(&'a self, buffer: &'a mut T::Buffer) -> &'a str {
        self.as_ref().map_or("", |value| value.text(buffer))
    }
}

impl LabelValue for bool {
    type Buffer = ();

    const ALL: &'static [&'static str] = &["false", "true"];

    fn text<'a>(&'a self, (): &'a mut ()) -> &'a str {
        if *self { "true" } else { "false" }
    }
}

impl LabelValue for char {
    type Buffer = [u8; 4];

    fn text<'a>(&'a self, buffer: &'a mut [u8; 4]) -> &'a str {
        self.encode_utf8(buffer)
    }
}

macro_rules! impl_integer {
    ($($type:ty),*) => {$(
        impl LabelValue for $type {
            type Buffer = TextBuffer;

            fn text<'a>(&'a self, buffer: &'a mut TextBuffer) -> &'a str {
                buffer.format(self)
            }
        }
    )*};
}

impl_integer!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// Uses the `Display` form of a value as a label value.
///
/// ```
/// use std::net::Ipv4Addr;
///
/// use multiprom::labels::Displayed;
/// use multiprom::{Backend, Counter, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let peers = Counter::builder("peers", "Peers.").labels(["address"]).register(&registry)?;
/// peers.with([Displayed(Ipv4Addr::LOCALHOST)]).inc();
/// assert_eq!(peers.with(["127.0.0.1"]).get(), 1.0);
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Displayed<T>(pub T);

impl<T: fmt::Display> LabelValue for Displayed<T> {
    type Buffer = TextBuffer;

    fn text<'a>(&'a self, buffer: &'a mut TextBuffer) -> &'a str {
        buffer.format(&self.0)
    }
}

/// A buffer for the text of a label value: on the stack up to 64 bytes, else on the heap.
#[derive(Debug)]
pub struct TextBuffer {
    bytes: [u8; 64],
    len: usize,
    /// The whole text, if it is longer than the array.
    long: String,
}

impl Default for TextBuffer {
    fn default() -> TextBuffer {
        TextBuffer { bytes: [0; 64], len: 0, long: String::new() }
    }
}

impl TextBuffer {
    /// Formats a value and returns its text. A `Display` implementation that fails leaves what it wrote before.
    pub fn format(&mut self, value: &(impl fmt::Display + ?Sized)) -> &str {
        self.len = 0;
        self.long.clear();
        // OK because only the implementation of the value can fail.
        let _ = write!(self, "{value}");
        self.as_str()
    }

    fn as_str(&self) -> &str {
        if self.long.is_empty() {
            // OK because whole texts were copied into the array.
            str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
        } else {
            &self.long
        }
    }
}

impl fmt::Write for TextBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        match self.bytes.get_mut(self.len..end) {
            Some(free) if self.long.is_empty() => {
                free.copy_from_slice(text.as_bytes());
                self.len = end;
            }
            _ => {
                if self.long.is_empty() {
                    self.long = self.as_str().to_owned();
                }
                self.long.push_str(text);
            }
        }
        Ok(())
    }
}

/// The values of `N` labels, in the order of the label names.
///
/// Implemented for arrays of a [`LabelValue`], for tuples of up to eight of them, and for references to both.
pub trait LabelValues<const N: usize> {
    /// Calls `use_texts` with the values as text and returns its result.
    fn with_texts<R>(&self, use_texts: impl FnOnce(&[&str; N]) -> R) -> R;
}

impl<T: LabelValue, const N: usize> LabelValues<N> for [T; N] {
    #[inline]
    fn with_texts<R>(&self, use_texts: impl FnOnce(&[&str; N]) -> R) -> R {
        let mut buffers: [T::Buffer; N] = std::array::from_fn(|_| T::Buffer::default());
        let mut texts = [""; N];
        for ((text, value), buffer) in texts.iter_mut().zip(self).zip(&mut buffers) {
            *text = value.text(buffer);
        }
        use_texts(&texts)
    }
}

impl<L: LabelValues<N> + ?Sized, const N: usize> LabelValues<N> for &L {
    #[inline]
    fn with_texts<R>(&self, use_texts: impl FnOnce(&[&str; N]) -> R) -> R {
        (**self).with_texts(use_texts)
    }
}

macro_rules! impl_tuple {
    ($n:literal: $($type:ident $at:tt),*) => {
        impl<$($type: LabelValue),*> LabelValues<$n> for ($($type,)*) {
            #[inline]
            fn with_texts<R>(&self, use_texts: impl FnOnce(&[&str; $n]) -> R) -> R {
                let mut buffers = ($($type::Buffer::default(),)*);
                use_texts(&[$(self.$at.text(&mut buffers.$at)),*])
            }
        }
    };
}

impl_tuple!(1: A 0);
impl_tuple!(2: A 0, B 1);
impl_tuple!(3: A 0, B 1, C 2);
impl_tuple!(4: A 0, B 1, C 2, D 3);
impl_tuple!(5: A 0, B 1, C 2, D 3, E 4);
impl_tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
impl_tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
impl_tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_complete() {
        let mut buffer = TextBuffer::default();
        for len in [0, 1, 63, 64, 65, 200] {
            let text = "\u{e9}".repeat(len);
            assert_eq!(buffer.format(&text), text);
            let parts = format_args!("{text}{text}-{len}").to_string();
            assert_eq!(buffer.format(&format_args!("{text}{text}-{len}")), parts);
        }
        assert_eq!(buffer.format(&i128::MIN), i128::MIN.to_string());
    }

    #[test]
    fn arrays_tuples_and_references_have_the_same_texts() {
        fn texts<const N: usize>(values: impl LabelValues<N>) -> Vec<String> {
            values.with_texts(|texts| texts.map(str::to_owned).to_vec())
        }
        assert_eq!(texts(["a", "1"]), texts((&"a".to_owned(), 1)));
        let texts_of_reference =
            <&[&str; 2] as LabelValues<2>>::with_texts(&&["true", "x"], |it| it.map(str::to_owned));
        assert_eq!(texts_of_reference.to_vec(), texts((true, 'x')));
        assert_eq!(texts([-1, 20]), ["-1", "20"]);
        assert_eq!(texts::<0>([""; 0]), [""; 0]);
    }
}
