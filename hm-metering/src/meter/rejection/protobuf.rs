//! Writing protobuf messages (<https://protobuf.dev/programming-guides/encoding/>): the few wire types that a status needs.
//! Fields that have their default value are left out, as proto3 does.

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// An `int32` or `int64`; wire type 0. Negative numbers take ten bytes, as their sign is extended.
    pub(super) fn integer(mut self, field: u32, value: i64) -> Self {
        if value != 0 {
            self.varint(u64::from(field << 3));
            self.varint(value as u64);
        }
        self
    }

    /// A `string`; wire type 2.
    pub(super) fn text(self, field: u32, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.delimited(field, value.as_bytes())
    }

    /// A message in a message; wire type 2. It is there even if it is empty.
    pub(super) fn message(self, field: u32, value: &Self) -> Self {
        self.delimited(field, &value.0)
    }

    /// One entry of a `map<string, string>`, which is a message with the key as field 1 and the value as field 2.
    pub(super) fn entry(self, field: u32, key: &str, value: &str) -> Self {
        self.message(field, &Self::default().text(1, key).text(2, value))
    }

    /// A `google.protobuf.Any` (any.proto: `type_url` = 1, `value` = 2) of a message of the type named `name`.
    pub(super) fn into_any(self, name: &str) -> Self {
        let any = Self::default().text(1, &format!("type.googleapis.com/{name}"));
        if self.0.is_empty() {
            return any;
        }
        any.delimited(2, &self.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn delimited(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field << 3 | 2));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Seven bits in each byte, the lowest first; the eighth bit says that there are more.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_come_out() {
        // "Test1 { a = 150 }" and "Test2 { b = testing }" of the encoding guide.
        assert_eq!(Message::default().integer(1, 150).as_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(
            Message::default().text(2, "testing").as_bytes(),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
        assert_eq!(
            Message::default()
                .message(3, &Message::default().integer(1, 150))
                .as_bytes(),
            [0x1a, 0x03, 0x08, 0x96, 0x01]
        );
        assert_eq!(
            Message::default().integer(1, -2).as_bytes(),
            [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
        );
    }
}
