select
  id as product_id,
  content_type_id as contenttype_id,
  object_id as product_object_id,
  price as product_price,
  description as product_description,
  is_active as product_is_active,
  {{ utc('created_on') }} as product_created_on,
  {{ utc('updated_on') }} as product_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__ecommerce_product') }}
