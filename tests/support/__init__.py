"""What tests share: pictures, loading, hostile bytes."""
